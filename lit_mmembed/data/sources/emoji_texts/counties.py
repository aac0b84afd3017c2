"""Counties: pairs of questions about one county of the United States that mean the same, among near duplicates.

Nothing is told about the counties but their names and states: a question finds a question, as with Quora's duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.draws import fraction, pick, shuffled
from lit_mmembed.data.sources.emoji_texts.places import choose_by_name, folded, read_counties, read_states
from lit_mmembed.data.sources.emoji_texts.sets import (
    SPLITS,
    Passage,
    TextSet,
    capital_first,
    numbered,
    read_wordings,
    split_of,
)

COUNT = 600
SHARED = 0.6
MOST = 5
SUBJECTS = 4
"""What is asked about each county."""
AGAIN = {"train": 3, "dev": 1, "test": 1}
"""Questions per county and subject that ask for the one in the pool."""


@dataclass(frozen=True, slots=True)
class County:
    """One county of a state."""

    fips: str
    name: str
    state: str
    """Its name."""
    letters: str


def counties_set(seed: int) -> TextSet:
    """Make the set; `seed` decides what is chosen, worded and held out."""
    wordings = read_wordings("counties")
    instructions = tuple(wordings.pop("instructions"))
    states = read_states()
    counties = (County(fips, name, states[letters], letters) for fips, name, letters in read_counties())
    groups = choose_by_name(counties, lambda county: county.name, seed, count=COUNT, shared=SHARED, most=MOST)
    passages, asked = [], []
    for group in groups:
        split = split_of(seed, "county", folded(group[0].name))
        for county in group:
            for subject in shuffled(wordings, seed, f"subjects of {county.fips}")[:SUBJECTS]:
                known = shuffled(wordings[subject]["known"], seed, f"{county.fips} {subject}")
                passage = Passage(f"county-{county.fips}-{subject}", _ask(county, known[0], seed))
                passages.append(passage)
                own = known[1:] if split == "train" else wordings[subject][split]
                templates = shuffled(own, seed, f"again {county.fips} {subject}")[: AGAIN[split]]
                asked += [(split, _ask(county, template, seed), passage.id) for template in templates]
    questions = {split: numbered(f"county-{split}", _of(split, asked)) for split in SPLITS}
    pool = shuffled(passages, seed, "counties", lambda passage: passage.id)
    return TextSet("Counties", 102, "counties", instructions, tuple(pool), questions)


def _of(split: str, asked: list[tuple[str, str, str]]) -> Iterator[tuple[str, list[str]]]:
    return ((text, [passage]) for own, text, passage in asked if own == split)


def _ask(county: County, template: str, seed: int) -> str:
    """Word a question; the state is written out or by its letters, before or after the county."""
    draw = ("place", county.fips, template)
    forms = ("{name}, {state}", "{name} in {state}", "{name}, {letters}", "{name} ({letters})")
    name = pick(forms, seed, *draw).format(
        name=_short(county, seed, template), state=county.state, letters=county.letters
    )
    return capital_first(template.format(c=name))


def _short(county: County, seed: int, template: str) -> str:
    """Return the name, sometimes without the word County."""
    name = county.name
    return name.removesuffix(" County") if fraction(seed, "short", county.fips, template) < 0.25 else name

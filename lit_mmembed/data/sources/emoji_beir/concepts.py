"""What the drawings show: an emoji in one skin tone, or a country's flag, with its words and its relatives."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.drawings import EMOJI_VENDORS, Drawings, without_fe0f
from lit_mmembed.data.sources.emoji_beir.draws import shuffled
from lit_mmembed.data.sources.emoji_beir.fetch import EMOJIBASE, Archive

PEOPLE, COMPONENTS, FLAGS = 1, 2, 9
TONES = ("yellow", "light", "medium-light", "medium", "medium-dark", "dark")
COLOURS = "red orange yellow green blue purple brown black white grey pink"
TONE_CODES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
PERSON_CODES = {
    "2642": "man",
    "2640": "woman",
    "1f468": "man",
    "1f469": "woman",
    "1f9d1": "person",
    "1f466": "boy",
    "1f467": "girl",
    "1f9d2": "child",
    "1f474": "old man",
    "1f475": "old woman",
    "1f9d3": "older person",
}
NEUTRAL = {"1f468": "1f9d1", "1f469": "1f9d1", "1f466": "1f9d2", "1f467": "1f9d2", "1f474": "1f9d3", "1f475": "1f9d3"}
FACING_RIGHT = "27a1"


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that several vendors draw."""

    key: str
    """Code points in lower case without FE0F, or a country's two letters."""
    label: str
    """In words, without the skin tone."""
    tags: tuple[str, ...] = ()
    tone: int = 0
    """0 yellow, 1 light ... 5 dark."""
    has_tones: bool = False
    base: str = ""
    """The key without its skin tone."""
    family: str = ""
    """The key without skin tone, gender and direction: relatives share it."""
    person: str | None = None
    """"man", "woman", "person" ... where there is exactly one; None otherwise."""
    faces_right: bool = False
    colour: tuple[str, str] | None = None
    """(colour, what has it), for the concepts that exist in several colours."""

    @property
    def is_flag(self) -> bool:
        """Tell whether this is a country's flag."""
        return len(self.key) == 2


def read_concepts(packages: str | Path, drawings: Drawings) -> list[Concept]:
    """Return every emoji, in every single skin tone, that all four vendors draw; country flags are not among them."""
    entries = Archive(packages, EMOJIBASE).json("en/data.json")
    found = [concept for entry in entries for concept in _of_entry(entry)]
    drawn = [concept for concept in found if all(drawings.has(vendor, concept.key) for vendor in EMOJI_VENDORS)]
    return _with_colours(drawn)


def choose_concepts(concepts: list[Concept], seed: int, *, objects: int, families: int) -> list[Concept]:
    """Choose `objects` concepts without skin tones and `families` kinds of people.

    Clocks and what exists in several colours come first; each kind of person in up to 2 genders and 3 skin tones.
    """
    single = shuffled((c for c in concepts if not c.has_tones), seed, "objects", lambda c: c.key)
    single.sort(key=lambda c: not (c.colour or is_clock(c)))
    people: dict[str, list[Concept]] = defaultdict(list)
    for concept in concepts:
        if concept.has_tones:
            people[concept.family].append(concept)
    chosen = shuffled(people, seed, "families")
    chosen.sort(key=lambda family: len({c.base for c in people[family]}) == 1)
    return single[:objects] + [c for family in chosen[:families] for c in _grid(people[family], seed)]


def is_clock(concept: Concept) -> bool:
    """Tell whether this is a clock face that shows a time."""
    return concept.label.endswith(("o’clock", "-thirty"))


def flag_concept(letters: str, country: str) -> Concept:
    """Make the concept of a country's flag."""
    return Concept(key=letters, label=f"flag of {country}", base=letters, family=letters)


def _of_entry(entry: dict) -> Iterator[Concept]:
    country_flag = entry["label"].startswith("flag: ")
    if entry.get("group") in (None, COMPONENTS) or country_flag:
        return
    key = without_fe0f(entry["hexcode"])
    # Tones are read from the structure: a label's part after the colon may be anything ("kneeling: facing right").
    skins = [skin for skin in entry.get("skins", []) if isinstance(skin.get("tone"), int)]
    codes = key.split("-")
    persons = [PERSON_CODES[code] for code in codes if code in PERSON_CODES]
    concept = Concept(
        key=key,
        label=_in_words(entry["label"]),
        tags=tuple(tag for tag in entry.get("tags", []) if re.fullmatch(r"[a-z][a-z0-9 \-]{2,18}", tag)),
        has_tones=bool(skins),
        base=key,
        family=_family(codes),
        person=_only(persons) if persons else "person",
        faces_right=FACING_RIGHT in codes,
    )
    yield concept
    for skin in skins:
        yield replace(concept, key=without_fe0f(skin["hexcode"]), tone=skin["tone"])


def _in_words(label: str) -> str:
    label = label.replace("⊛ ", "")
    name, _, rest = label.partition(": ")
    if name in ("kiss", "couple with heart", "family"):
        return f"{name} of {rest}"
    return f"{name} with {rest}" if "hair" in rest else f"{name} {rest}".strip()


def _family(codes: list[str]) -> str:
    kept = [
        NEUTRAL.get(code, code) for code in codes if code not in {*TONE_CODES, "2640", "2642", FACING_RIGHT, "200d"}
    ]
    return "-".join(kept)


def _only(persons: list[str]) -> str | None:
    return persons[0] if len(persons) == 1 else None


def _grid(members: list[Concept], seed: int) -> list[Concept]:
    bases = shuffled({c.base for c in members}, seed, "genders")[:2]
    tones = {0, *shuffled(range(1, 6), seed, f"tones {members[0].family}")[:2]}
    return [c for c in members if c.base in bases and c.tone in tones]


def _with_colours(concepts: Iterable[Concept]) -> list[Concept]:
    coloured = [replace(c, colour=_colour(c.label)) if not c.has_tones else c for c in concepts]
    several: dict[str, int] = defaultdict(int)
    for concept in coloured:
        if concept.colour:
            several[concept.colour[1]] += 1
    return [replace(c, colour=None) if c.colour and several[c.colour[1]] < 2 else c for c in coloured]


def _colour(label: str) -> tuple[str, str] | None:
    words = label.split()
    at = [i for i, word in enumerate(words) if word in COLOURS.split()]
    if len(at) != 1:
        return None
    first = at[0] - 1 if at[0] and words[at[0] - 1] == "light" else at[0]
    return " ".join(words[first : at[0] + 1]), " ".join(words[:first] + words[at[0] + 1 :])

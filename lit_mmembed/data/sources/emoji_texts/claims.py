"""Claims: true and false statements about cities of the United States, and the passages that settle them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.draws import fraction, pick, shuffled
from lit_mmembed.data.sources.emoji_texts.cities import degrees
from lit_mmembed.data.sources.emoji_texts.places import (
    LANDMARK,
    WINDS,
    City,
    Near,
    asked_by_atlas,
    choose_by_name,
    folded,
    nearest_larger,
    read_states,
)
from lit_mmembed.data.sources.emoji_texts.sets import (
    SPLITS,
    Passage,
    TextSet,
    capital_first,
    numbered,
    read_wordings,
    split_of,
)

COUNT = 1400
SHARED = 0.6
MOST = 5
CLAIMS = {"train": 4, "dev": 2, "test": 2}
"""Claims per city."""
FALSE = 0.4
"""Which part of the named claims is false; the passage that refutes a claim is found like one that supports it."""
UNNAMED = 0.5
"""How many of the cities have a claim that does not name them."""


@dataclass(frozen=True, slots=True)
class Told:
    """A city with what its passage tells."""

    city: City
    state: str
    near: Near
    zone: str
    """The city whose clocks it shares."""
    alone: bool
    """No other city of the pool has its name."""

    @property
    def id(self) -> str:
        """The passage's id."""
        return f"place-{self.city.number}"


def claims_set(cities: Sequence[City], seed: int) -> TextSet:
    """Make the set from GeoNames' cities; `seed` decides what is chosen, claimed and held out."""
    wordings = read_wordings("claims")
    places = _told(cities, seed)
    questions = {split: numbered(f"claim-{split}", _claims(split, places, wordings, seed)) for split in SPLITS}
    passages = [Passage(told.id, _tell(told, wordings["passages"], seed)) for told in places]
    pool = shuffled(passages, seed, "claims", lambda passage: passage.id)
    return TextSet("Claims", 103, "claims", tuple(wordings["instructions"]), tuple(pool), questions)


def _told(cities: Sequence[City], seed: int) -> list[Told]:
    states = read_states()
    atlas = asked_by_atlas(cities)
    there = [city for city in cities if city.country == "US" and city.state in states]
    asked = [city for city in there if city.number not in atlas and city.people > 0]
    groups = choose_by_name(asked, lambda city: city.name, seed, count=COUNT, shared=SHARED, most=MOST)
    # One city of a name per state: name and state must say which is meant.
    groups = [list({city.state: city for city in group}.values()) for group in groups]
    chosen = [city for group in groups for city in group]
    near = nearest_larger(chosen, [city for city in there if city.people >= LANDMARK])
    alone = [len(group) == 1 for group in groups for _ in group]
    return [
        Told(city, states[city.state], place, city.zone.rpartition("/")[2].replace("_", " "), single)
        for city, place, single in zip(chosen, near, alone, strict=True)
    ]


def _split(told: Told, seed: int) -> str:
    return split_of(seed, "claim", folded(told.city.name))


def _tell(told: Told, templates: Sequence[str], seed: int) -> str:
    return capital_first(pick(templates, seed, "passage", told.id).format(c=told.city.name, **_facts(told)))


def _facts(told: Told) -> dict[str, object]:
    near = told.near
    return {
        "s": told.state,
        "n": near.name,
        "d": near.kilometres,
        "w": near.wind,
        "p": f"{told.city.people:,}",
        "z": told.zone,
        "m": degrees(told.city),
    }


def _claims(split: str, pool: list[Told], wordings: dict, seed: int) -> Iterator[tuple[str, list[str]]]:
    places = [told for told in pool if _split(told, seed) == split]
    alike: dict[tuple, list[Told]] = defaultdict(list)
    for told in pool:
        alike[tuple(_rounded(told).values())].append(told)
    for position, told in enumerate(places):
        other = places[(position + 6 + int(20 * fraction(seed, "other", told.id))) % len(places)]
        meant = alike[tuple(_rounded(told).values())]
        # A claim that names no city must not mean one of another split as well.
        held = all(_split(one, seed) == split for one in meant)
        for kind in _kinds(told, wordings[split], seed)[: CLAIMS[split]]:
            template = pick(wordings[split][kind], seed, "claim", told.id, kind)
            if kind == "compare":
                names = {"c": _name(told, kind, seed), "b": _name(other, kind, seed)}
                yield capital_first(template.format(**names)), [told.id, other.id]
            elif kind != "unnamed":
                yield capital_first(template.format(c=_name(told, kind, seed), **_claimed(told, kind, seed))), [told.id]
            elif held:
                yield capital_first(template.format(**_rounded(told))), [one.id for one in meant]


def _kinds(told: Told, kinds: Iterable[str], seed: int) -> list[str]:
    """Order the kinds of claims for a city; where its name says nothing of its state, no claim on the state."""
    named = shuffled((k for k in kinds if k != "unnamed" and (told.alone or k != "state")), seed, f"on {told.id}")
    return ["unnamed", *named] if fraction(seed, "unnamed", told.id) < UNNAMED else named


def _name(told: Told, kind: str, seed: int) -> str:
    """Name the city, with its state where the name alone may mean another one, and never where the state is claimed."""
    if kind == "state" or (told.alone and fraction(seed, "alone", told.id, kind) < 0.5):
        return told.city.name
    return pick(("{c} in {s}", "{c}, {s}", "{c}, {l}", "{c} ({l})"), seed, "name", told.id, kind).format(
        c=told.city.name, s=told.state, l=told.city.state
    )


def _rounded(told: Told) -> dict[str, object]:
    """Return facts that a city shares with those like it: people by the thousand, kilometres by five."""
    near = told.near
    return {
        "p": f"{_round(told.city.people):,}",
        "d": max(5, 5 * round(near.kilometres / 5)),
        "w": near.wind,
        "n": near.name,
    }


def _claimed(told: Told, kind: str, seed: int) -> dict[str, object]:
    """Return the facts with the claimed one made false by a draw."""
    facts = _facts(told)
    false = fraction(seed, "false", told.id, kind) < FALSE
    draw = fraction(seed, "how false", told.id, kind)
    people, near = told.city.people, told.near
    if kind in ("more", "fewer"):
        above = (kind == "fewer") != false
        facts["p"] = f"{_round(people * ((1.2 + draw) if above else (0.45 + draw / 3))):,}"
    elif false and kind == "state":
        facts["s"] = pick([s for s in read_states().values() if s != told.state], seed, "state", told.id)
    elif false and kind == "wind":
        facts["w"] = WINDS[(WINDS.index(near.wind) + 2 + int(draw * 5)) % len(WINDS)]
    elif false and kind == "far":
        facts["d"] = round(near.kilometres * (1.5 + draw)) + 5
    elif false and kind == "time":
        facts["z"] = pick(
            [z for z in ("New York", "Chicago", "Denver", "Los Angeles") if z != told.zone], seed, told.id
        )
    return facts


def _round(people: float) -> int:
    return round(int(people), -3) or 1000

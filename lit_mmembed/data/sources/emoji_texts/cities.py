"""Cities: questions about cities outside the United States, passages that each tell one fact."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lit_mmembed.data.sources.emoji_beir.draws import fraction, pick, shuffled
from lit_mmembed.data.sources.emoji_texts.places import (
    LANDMARK,
    City,
    Near,
    asked_by_atlas,
    choose_by_name,
    folded,
    nearest_larger,
    plain,
    read_countries,
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

RELATIONS = ("people", "where", "time", "map", "country")
COUNT = 640
SHARED = 0.35
MOST = 4
WORDINGS = {"train": 2, "dev": 1, "test": 1}
"""Questions per city and relation."""
LATIN = re.compile(r"[^\W\d_][^\W\d_' -]{2,22}")


@dataclass(frozen=True, slots=True)
class Told:
    """A city with what is told of it."""

    city: City
    country: str
    near: Near
    spellings: tuple[str, ...]
    """Other ways to write the name that mean no other chosen city."""

    def fact(self, relation: str) -> str:
        """Return the fact in words."""
        city = self.city
        if relation == "people":
            return f"{city.people:,}"
        if relation == "where":
            return f"{self.near.kilometres} kilometres {self.near.wind}"
        if relation == "time":
            area, _, place = city.zone.partition("/")
            return f"the time of {place.replace('_', ' ').replace('/', ', ')} ({area})"
        return degrees(city) if relation == "map" else self.country


def cities_set(cities: Sequence[City], seed: int) -> TextSet:
    """Make the set from GeoNames' cities; `seed` decides what is chosen, worded and held out."""
    wordings = read_wordings("cities")
    groups = _told(cities, seed)
    questions = {split: numbered(f"city-{split}", _asked(split, groups, wordings, seed)) for split in SPLITS}
    passages = [
        Passage(_id(told, relation), _tell(told, relation, wordings, seed))
        for group in groups
        for told in group
        for relation in RELATIONS
        if not (relation == "country" and len(group) > 1)
    ]
    passages = shuffled(passages, seed, "cities", lambda passage: passage.id)
    return TextSet("Cities", 101, "cities", tuple(wordings["instructions"]), tuple(passages), questions)


def degrees(city: City) -> str:
    """Write a city's coordinates in words, to a tenth of a degree."""
    north = f"{abs(city.latitude):.1f} degrees {'north' if city.latitude >= 0 else 'south'}"
    return f"{north}, {abs(city.longitude):.1f} degrees {'east' if city.longitude >= 0 else 'west'}"


def _told(cities: Sequence[City], seed: int) -> list[list[Told]]:
    countries = read_countries()
    atlas = asked_by_atlas(cities)
    names = {folded(name) for name in countries.values()}
    there = [
        city
        for city in cities
        if city.country in countries and city.country != "US" and city.number not in atlas
        if LATIN.fullmatch(city.name) and folded(city.name) not in names and city.people > 0
    ]
    groups = choose_by_name(there, lambda city: city.name, seed, count=COUNT, shared=SHARED, most=MOST)
    chosen = [city for group in groups for city in group]
    landmarks = [city for city in cities if city.people >= LANDMARK]
    near = dict(zip((c.number for c in chosen), nearest_larger(chosen, landmarks), strict=True))
    spellings = _spellings(chosen)
    return [
        _apart([Told(city, countries[city.country], near[city.number], spellings[city.number]) for city in group])
        for group in groups
    ]


def _apart(group: Iterable[Told]) -> list[Told]:
    """Keep the cities of one name whose facts all differ: two of one country, or twins on a border, look the same."""
    kept: list[Told] = []
    taken: set[tuple[str, str]] = set()
    for told in group:
        facts = {(relation, told.fact(relation)) for relation in RELATIONS}
        if not facts & taken:
            kept.append(told)
            taken |= facts
    return kept


def _spellings(chosen: Sequence[City]) -> dict[int, tuple[str, ...]]:
    meant: dict[str, set[str]] = defaultdict(set)
    for city in chosen:
        for name in (city.name, *city.others):
            meant[folded(name)].add(folded(city.name))
    found = {}
    for city in chosen:
        own = folded(city.name)
        others = (name for name in city.others if LATIN.fullmatch(name) and name.isascii() and name.istitle())
        alike = [name for name in others if own != folded(name) and _alike(own, folded(name))]
        found[city.number] = tuple(name for name in sorted(alike) if len(meant[folded(name)]) == 1)
    return found


def _alike(one: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.65


def _tell(told: Told, relation: str, wordings: dict, seed: int) -> str:
    template = pick(wordings[relation]["passages"], seed, "passage", told.city.number, relation)
    name = told.city.name
    return capital_first(template.format(c=name, o=told.fact(relation), n=told.near.name))


def _asked(split: str, groups: list[list[Told]], wordings: dict, seed: int) -> Iterator[tuple[str, list[str]]]:
    for group in groups:
        if split_of(seed, "city", folded(group[0].city.name)) != split:
            continue
        for told in group:
            for relation in RELATIONS:
                if relation == "country" and len(group) > 1:
                    continue
                templates = shuffled(wordings[relation][split], seed, f"{told.city.number} {relation}")
                for template in templates[: WORDINGS[split]]:
                    yield _ask(told, group, template, (seed, relation))


def _ask(told: Told, group: list[Told], template: str, draw: tuple[int, str]) -> tuple[str, list[str]]:
    """Return the question and its passages: of one city, or of all that share the name where no country is said."""
    seed, relation = draw
    city, place = told.city, fraction(seed, "say", told.city.number, template)
    name = city.name
    if place < 0.35 and told.spellings:
        name = pick(told.spellings, seed, "spelling", city.number, template)
    elif place < 0.6:
        name = plain(city.name)
    alone = relation == "country" or (
        fraction(seed, "country", city.number, template) < (0.3 if len(group) > 1 else 0.6)
    )
    if not alone:
        # A spelling may be one city's alone, but with its country every name means one.
        name = f"{name}, {told.country}" if place < 0.8 else f"{name} in {told.country}"
    meant = group if alone else [told]
    return capital_first(template.format(c=name)), [_id(other, relation) for other in meant]


def _id(told: Told, relation: str) -> str:
    return f"city-{told.city.number}-{relation}"

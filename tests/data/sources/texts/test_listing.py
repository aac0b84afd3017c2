"""`texts.yaml`: several sets become one data directory with a task each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.data.tasks import averages
from tests.data.sources.folders import build_beir
from tests.data.sources.texts import forms
from tests.tiny import done, mmembed


def listed(**changes: Any) -> dict[str, Any]:
    """Three sets of different forms; a change of `Birds`, `Owls`, `Wrens` is a change of that entry."""
    entries = {
        "Birds": {"id": 101, "format": "beir", "path": "birds", "instructions": ["Find the bird."]},
        "Owls": {
            **{"id": 102, "format": "tevatron", "path": "owls", "instructions": ["Find it.", "Who is it?"]},
            **{"files": {"train": "rows.jsonl"}, "corpus": ["passages.jsonl"], "licence": "CC BY 4.0"},
        },
        "Wrens": {
            **{"id": 103, "format": "pairs", "path": "wrens/qa.jsonl", "instructions": ["Answer it."]},
            **{"columns": {"query": "q", "positive": "p"}, "held_out": {"test": 0.5}, "splits": ["train", "test"]},
        },
    }
    for name, change in changes.items():
        entries[name] = {key: value for key, value in (entries[name] | change).items() if value is not ...}
    return {"name": "feathers", "datasets": [{"name": name, **entry} for name, entry in entries.items()]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "feathers"
    build_beir(root / "birds")
    forms.tevatron_new(root / "owls")
    (root / "owls/corpus.jsonl").rename(root / "owls/passages.jsonl")
    (root / "owls/train.jsonl").rename(root / "owls/rows.jsonl")
    forms.write_jsonl(root / "wrens/qa.jsonl", [{"q": f"Wren {number}?", "p": "Yes."} for number in range(20)])
    write(root, listed())
    return root


def write(root: Path, content: Any) -> None:
    (root / "texts.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))


def test_each_set_is_a_task_with_its_own_pool_and_instructions(root: Path, tmp_path: Path) -> None:
    done("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    directory = DataDirectory(tmp_path / "out")
    assert (directory.name, directory.manifest["licences"]) == ("feathers", ["CC BY 4.0"])
    assert [task.label for task in directory.tasks] == ["9/Birds", "9/Owls", "9/Wrens"]
    assert directory.splits == ("test", "train")
    train, pools = directory.candidates("train"), directory.pools("train")
    owned = {name: sorted(train.ids[rows]) for name, rows in pools.items()}
    assert owned["birds_task1"] == ["101:d1", "101:d2"]
    assert owned["owls_task1"] == ["102:5", "102:c", "102:o", "102:r", "102:w"]
    assert len(owned["wrens_task1"]) == 1 and sum(map(len, owned.values())) == len(train) == 8
    assert directory.queries("train").by_id("101:q1").positives == ("101:d1",)
    assert directory.queries("train").by_id("102:1").negatives == ("102:o", "102:r")
    assert "101:q2 0 101:d2 2 1" in directory.qrels_path("test").read_text().splitlines()
    assert directory.instructions_path is not None
    wordings = [Instructions.load(directory.instructions_path).wordings(task) for task in directory.tasks]
    assert wordings == [("Find the bird.",), ("Find it.", "Who is it?"), ("Answer it.",)]


def test_the_listing_itself_may_be_named_and_the_hash_repeats(root: Path, tmp_path: Path) -> None:
    for name, given in (("one", root), ("two", root / "texts.yaml")):
        done("shard", "--source", "texts", "--root", given, "--out", tmp_path / name)
    assert DataDirectory(tmp_path / "one").hash == DataDirectory(tmp_path / "two").hash


def test_sets_without_instructions_make_a_directory_without_the_file(root: Path, tmp_path: Path) -> None:
    none = {"instructions": []}
    write(root, listed(Birds=none, Owls=none, Wrens=none))
    done("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    assert DataDirectory(tmp_path / "out").instructions_path is None


def test_tasks_of_texts_are_in_no_average_of_the_papers_single_modal_tasks(root: Path, tmp_path: Path) -> None:
    done("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    tasks = DataDirectory(tmp_path / "out").tasks
    assert set(averages({task.name: 0.5 for task in tasks}, tasks)) == {"avg_all"}


WRONG: list[tuple[Any, str]] = [
    ("name: [", "texts.yaml: is not YAML"),
    ("- a", "texts.yaml: is no listing of texts"),
    ({"name": "x", "datasets": []}, "texts.yaml: is no listing of texts"),
    (listed() | {"sets": 1}, "texts.yaml: has unknown keys: sets"),
    ({"name": "x", "datasets": ["a"]}, "texts.yaml: datasets, number 1: is no set of texts"),
    (listed(Owls={"instructions": ...}), "texts.yaml: Owls: lacks instructions (fix: `instructions: []` says"),
    (listed(Owls={"instructions": []}), "texts.yaml: Owls: has no instructions, and other sets have"),
    (listed(Owls={"instructions": "Find."}), "texts.yaml: Owls: instructions 'Find.' is not of the right kind"),
    (listed(Owls={"instructions": [1]}), "texts.yaml: Owls: instruction 1 is no sentence"),
    (listed(Owls={"format": "docx"}), "texts.yaml: Owls: format 'docx' is unknown (fix: use one of beir, tevatron"),
    (listed(Owls={"columns": {"query": "q"}}), "texts.yaml: Owls: tevatron has no option columns"),
    (listed(Birds={"held_out": {"val": 0.1}}), "texts.yaml: Birds: beir has no option held_out"),
    (listed(Wrens={"columns": {"premise": "q"}}), "texts.yaml: Wrens: pairs has no column for premise"),
    (listed(Wrens={"columns": {"query": 1}}), "texts.yaml: Wrens: columns does not give names"),
    (listed(Wrens={"held_out": 0.1}), "texts.yaml: Wrens: held_out 0.1 is not of the right kind"),
    (listed(Wrens={"held_out": {"val": 2}}), "texts.yaml: Wrens: share 2 of val is out of range"),
    (listed(Wrens={"splits": ["dev"]}), "texts.yaml: Wrens: split 'dev' is unknown"),
    (listed(Wrens={"splits": ["val"]}), "wrens/qa.jsonl: has no queries for val"),
    (listed(Owls={"id": 101}), "texts.yaml: id 101 is given to two sets"),
    (listed(Owls={"id": 3}), "texts.yaml: Owls: id 3 is negative or one of M-BEIR's"),
    (listed(Owls={"id": "102"}), "texts.yaml: Owls: id '102' is not of the right kind"),
    (listed(Owls={"name": "birds"}), "texts.yaml: name birds is given to two sets"),
    (listed(Owls={"name": "Owls and so on"}), "is no name of a data set"),
    (listed(Owls={"path": "eagles"}), "eagles/rows.jsonl: does not exist"),
    (listed(Owls={"files": {"train": "none.jsonl"}}), "owls/none.jsonl: does not exist"),
    (listed(Wrens={"path": "nothing"}), "nothing: does not exist"),
]


@pytest.mark.parametrize(("content", "message"), WRONG)
def test_a_wrong_listing_is_named_by_file_and_set(content: Any, message: str, root: Path, tmp_path: Path) -> None:
    write(root, content)
    ran = mmembed("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert message in ran.err and "(fix: " in ran.err
    assert not (tmp_path / "out").exists()


def test_an_unknown_positive_of_a_beir_set_is_named_by_its_line_and_can_be_skipped(root: Path, tmp_path: Path) -> None:
    with (root / "birds/qrels/train.tsv").open("a") as stream:
        stream.write("q3\td9\t1\n")
    flags = ("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    ran = mmembed(*flags)
    assert f"{root / 'birds/qrels/train.tsv'}:4: 101:q3: 101:d9 is not in corpus.jsonl" in ran.err
    done(*flags, "--on-bad-sample", "skip")
    assert DataDirectory(tmp_path / "out").queries("train").find("101:q3") is None


def test_a_folder_without_a_listing_is_named(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()
    ran = mmembed("shard", "--source", "texts", "--root", root, "--out", tmp_path / "out")
    assert "texts.yaml: does not exist" in ran.err

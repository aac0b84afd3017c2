"""Every form of a text set becomes the same data directory, through `mmembed shard`."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.types import Modality
from tests.data.sources.texts import forms
from tests.tiny import done


def sharded(source: str, root: Path, out: Path, *flags: object) -> DataDirectory:
    done("shard", "--source", source, "--root", root, "--out", out, *flags)
    return DataDirectory(out)


@pytest.mark.parametrize("name", forms.WITH_NEGATIVES)
def test_a_form_with_negatives_is_read(name: str, tmp_path: Path) -> None:
    source, build = forms.WITH_NEGATIVES[name]
    root = tmp_path / "birds"
    root.mkdir()
    directory = sharded(source, build(root), tmp_path / "out")
    assert forms.said_by(directory) == forms.ASKED


@pytest.mark.parametrize("name", forms.WITHOUT)
def test_a_form_of_pairs_is_read(name: str, tmp_path: Path) -> None:
    source, build = forms.WITHOUT[name]
    root = tmp_path / "birds"
    root.mkdir()
    directory = sharded(source, build(root), tmp_path / "out")
    line = " ".join if name == "pairs_table" else "\n".join
    asked = {query: ({line(text.split("\n")) for text in right}, set()) for query, (right, _) in forms.ASKED.items()}
    assert forms.said_by(directory) == asked


def test_the_task_is_the_papers_ninth_and_ids_begin_with_the_number(tmp_path: Path) -> None:
    root = forms.triplets_objects(tmp_path / "in")
    flags = ("--name", "Birds", "--dataset-id", 140, "--instruction", "Find it.", "Which bird?")
    directory = sharded("triplets", root, tmp_path / "out", *flags)
    (task,) = directory.tasks
    assert (task.name, task.label, task.dataset_id, task.mbeir_id, task.cutoff) == (
        "birds_task1",
        "9/Birds",
        140,
        1,
        10,
    )
    assert (task.query_modality, task.candidate_modality) == (Modality.TEXT, Modality.TEXT)
    assert (directory.name, directory.manifest["source"]) == ("Birds", "triplets")
    ids = [*directory.queries("train").ids, *directory.candidates("train").ids]
    assert all(name.startswith("140:") and len(name) == 36 for name in ids)
    assert directory.instructions_path is not None
    assert Instructions.load(directory.instructions_path).wordings(task) == ("Find it.", "Which bird?")


def test_tevatrons_ids_stay_behind_the_number_and_the_whole_corpus_is_the_pool(tmp_path: Path) -> None:
    directory = sharded("tevatron", forms.tevatron_new(tmp_path / "birds"), tmp_path / "out")
    ids = directory.candidates("train").ids
    assert sorted(ids) == ["100:5", "100:c", "100:o", "100:r", "100:w"]
    assert sorted(ids[directory.pools("train")["birds_task1"]]) == sorted(ids)
    assert directory.queries("train").by_id("100:2").positives == ("100:c", "100:o")
    assert sorted(directory.qrels_path("train").read_text().splitlines()) == [
        "100:1 0 100:w 1 1",
        "100:2 0 100:c 1 1",
        "100:2 0 100:o 1 1",
    ]


def test_a_corpus_elsewhere_and_columns_of_other_names_are_named(tmp_path: Path) -> None:
    root = forms.tevatron_new(tmp_path / "birds")
    corpus = tmp_path / "passages.jsonl"
    (root / "corpus.jsonl").rename(corpus)
    directory = sharded("tevatron", root / "train.jsonl", tmp_path / "one", "--corpus", corpus)
    assert forms.said_by(directory) == forms.ASKED
    rows = [{"frage": query, "gut": right, "falsch": wrong} for query, right, wrong in forms.ROWS]
    file = forms.write_jsonl(tmp_path / "rows.jsonl", rows)
    columns = ("--columns", "query=frage", "positive=gut", "negative=falsch")
    assert forms.said_by(sharded("triplets", file, tmp_path / "two", *columns)) == forms.ASKED


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    sharded("nli", forms.nli_snli(tmp_path / "in"), tmp_path / "out")
    assert caplog.messages == [
        f"{tmp_path / 'in'}: left out 1 neutral rows, 1 premises without an entailment, 1 rows without a label"
    ]


def test_the_order_of_the_rows_changes_nothing_but_their_order(tmp_path: Path) -> None:
    rows, shuffled = random_rows(), random_rows()
    random.Random(1).shuffle(shuffled)
    found = []
    for name, listed in (("one", rows), ("two", shuffled)):
        file = forms.write_jsonl(tmp_path / name / "set.jsonl", listed)
        flags = ("--name", "Set", "--held-out", "val=0.2", "test=0.1")
        directory = sharded("triplets", file, tmp_path / f"{name}.out", *flags)
        samples = {}
        for part in directory.manifest["parts"]:
            side, split = part.split("/")
            reader = directory.queries(split) if side == "queries" else directory.candidates(split)
            samples |= {(part, sample.id): sample for sample in reader}
        qrels = {split: sorted(directory.qrels_path(split).read_text().splitlines()) for split in directory.splits}
        found.append((samples, qrels))
    assert found[0] == found[1]


def test_rows_about_one_query_are_gathered_as_a_dictionary_would(tmp_path: Path) -> None:
    rows = random_rows()
    directory = sharded("triplets", forms.write_jsonl(tmp_path / "set.jsonl", rows), tmp_path / "out")
    gathered: forms.Said = defaultdict(lambda: (set(), set()))
    for row in rows:
        gathered[row["query"]][0].update(row["pos"])
        gathered[row["query"]][1].update(row["neg"])
    assert forms.said_by(directory) == gathered
    texts = {text for row in rows for text in (*row["pos"], *row["neg"])}
    assert sorted(str(sample.text) for sample in directory.candidates("train")) == sorted(texts)


def random_rows() -> list[dict]:
    """Rows that repeat queries and documents; what is right for a query is never wrong for it."""
    draw = random.Random(0)
    rows = []
    for _ in range(300):
        query = draw.randrange(60)
        right, wrong = (
            [f"text {(query + shift) % 40}" for shift in draw.sample(shifts, draw.randint(least, 4))]
            for least, shifts in ((1, range(15)), (0, range(15, 30)))
        )
        rows.append({"query": f"query {query}", "pos": right, "neg": wrong})
    return rows

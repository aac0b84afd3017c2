"""What is drawn from a file of mined negatives: the kinds half and half, and what an empty kind means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_mmembed.data.negatives import MinedNegatives
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.errors import InputError
from lit_mmembed.types import Sample

ROWS = [
    ("q1", "w1", "wrong_modality"),
    ("q2", "u9", "unsatisfying"),
    ("q1", "u1", "unsatisfying"),
    ("q1", "u2", "unsatisfying"),
    ("q1", "w2", "wrong_modality"),
    ("q1", "u3", "unsatisfying"),
    ("q3", "w7", "wrong_modality"),
]
DRAWS = 4000


def write(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A file of negatives with plain string columns, as another program would write it."""
    columns = dict(zip(("qid", "did", "kind"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table({**columns, "rank": [1] * len(rows), "score": [0.5] * len(rows)}), path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "negatives.parquet", ROWS)


def draws(negatives: MinedNegatives, qid: str, count: int = DRAWS) -> list[str | None]:
    return [negatives.draw(Sample(qid), np.random.default_rng((3, position))) for position in range(count)]


def test_both_kinds_are_drawn_half_and_half_and_evenly_within_a_kind(file):
    found = draws(MinedNegatives(file), "q1")
    share = {did: found.count(did) / DRAWS for did in ("w1", "w2", "u1", "u2", "u3")}
    assert sum(share.values()) == pytest.approx(1)
    assert share["w1"] + share["w2"] == pytest.approx(1 / 2, abs=0.03)
    assert [share["w1"], share["w2"]] == pytest.approx([1 / 4, 1 / 4], abs=0.03)
    assert [share["u1"], share["u2"], share["u3"]] == pytest.approx([1 / 6] * 3, abs=0.03)


@pytest.mark.parametrize(("qid", "only"), [("q2", "u9"), ("q3", "w7")])
def test_an_empty_kind_gives_way_to_the_other(file, qid, only):
    assert set(draws(MinedNegatives(file, when_empty="other"), qid, 100)) == {only}


@pytest.mark.parametrize(("qid", "only"), [("q2", "u9"), ("q3", "w7")])
def test_an_empty_kind_gives_none_in_half_of_the_draws_when_the_batch_is_to_do(file, qid, only):
    found = draws(MinedNegatives(file, when_empty="in_batch"), qid)
    assert set(found) == {only, None}
    assert found.count(None) / DRAWS == pytest.approx(1 / 2, abs=0.03)


@pytest.mark.parametrize("when_empty", ["other", "in_batch"])
def test_a_query_that_was_not_mined_has_none(file, when_empty):
    assert set(draws(MinedNegatives(file, when_empty=when_empty), "q4", 10)) == {None}


def test_a_draw_is_a_function_of_its_generator_alone(file):
    negatives = MinedNegatives(file)
    first = draws(negatives, "q1", 50)
    draws(negatives, "q2", 7)
    assert draws(negatives, "q1", 50) == first
    assert draws(MinedNegatives(file), "q1", 50) == first


def test_two_numbers_are_taken_from_the_generator_whatever_is_found(file):
    """So that the wording drawn after it does not depend on whether a query was mined."""
    after = []
    for qid in ("q1", "q2", "q4"):
        generator = np.random.default_rng(5)
        MinedNegatives(file).draw(Sample(qid), generator)
        after.append(generator.random())
    assert len(set(after)) == 1


def test_the_random_control_has_one_kind_that_is_always_drawn(tmp_path):
    rows = [("q1", f"d{number}", "random") for number in range(4)]
    found = draws(MinedNegatives(write(tmp_path / "n.parquet", rows), when_empty="in_batch"), "q1")
    assert [found.count(f"d{number}") / DRAWS for number in range(4)] == pytest.approx([1 / 4] * 4, abs=0.03)


def test_the_order_of_the_files_rows_does_not_matter_to_the_kinds(tmp_path):
    straight, turned = (write(tmp_path / f"{n}.parquet", rows) for n, rows in enumerate((ROWS, ROWS[::-1])))
    kinds = [[did[0] for did in draws(MinedNegatives(path), "q1", 50) if did] for path in (straight, turned)]
    assert kinds[0] == kinds[1]


def test_an_empty_file_gives_none(tmp_path):
    text = pa.string()
    schema = pa.schema([("qid", text), ("did", text), ("kind", text), ("rank", pa.int32()), ("score", pa.float32())])
    pq.write_table(schema.empty_table(), tmp_path / "n.parquet")
    assert MinedNegatives(tmp_path / "n.parquet").draw(Sample("q1"), np.random.default_rng(0)) is None


def test_a_missing_file_and_one_of_other_columns_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.parquet: does not exist \(fix: mine first"):
        MinedNegatives(tmp_path / "gone.parquet")
    pq.write_table(pa.table({"query": ["q1"]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"other\.parquet: is not a file of negatives"):
        MinedNegatives(tmp_path / "other.parquet").draw(Sample("q1"), np.random.default_rng(0))
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"text\.parquet: is not a file of negatives"):
        MinedNegatives(tmp_path / "text.parquet").draw(Sample("q1"), np.random.default_rng(0))


def test_a_split_without_judgements_has_no_positive_among_the_negatives(tmp_path):
    folders = [tmp_path / name for name in ("queries", "candidates")]
    write_shard_set(folders[0], [Sample("q1", "Which bird?")])
    write_shard_set(folders[1], [Sample("d1", "A wren."), Sample("d2", "A robin.")])
    (tmp_path / "train.txt").write_text("")
    mined = MinedNegatives(write(tmp_path / "n.parquet", [("q1", "d1", "unsatisfying")]))
    mined.check(*map(ShardReader, folders), tmp_path / "train.txt")
    (tmp_path / "train.txt").write_text("q1 0 d1 1 0\n")
    with pytest.raises(InputError, match="positive and negative at once"):
        mined.check(*map(ShardReader, folders), tmp_path / "train.txt")


def test_only_the_kinds_asked_for_are_drawn(tmp_path):
    rows = [("q1", "w", "wrong_modality"), ("q1", "u", "unsatisfying"), ("q2", "v", "wrong_modality")]
    write(tmp_path / "n.parquet", rows)
    only = MinedNegatives(tmp_path / "n.parquet", kinds=["unsatisfying"])
    assert set(draws(only, "q1")) == {"u"} and set(draws(only, "q2")) == {None}
    assert set(draws(MinedNegatives(tmp_path / "n.parquet"), "q1")) == {"u", "w"}
    with pytest.raises(
        InputError, match=r"has no negatives of kind random.*it has \['unsatisfying', 'wrong_modality'\]"
    ):
        MinedNegatives(tmp_path / "n.parquet", kinds=["random"]).draw(Sample("q1"), np.random.default_rng(0))

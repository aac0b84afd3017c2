"""Judgements on disk."""

import random

import numpy as np
import pytest

import lit_mmembed.evaluation.qrels as qrels_module
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.qrels import check_known, judge, read_qrels, write_qrels
from lit_mmembed.retrieval.ranking import from_pairs

FIVE = "9:1 0 9:7 1 0\n9:2 0 9:7 2 3\n9:1 0 9:8 0 0\n"


def test_five_columns_are_read_and_written_back(tmp_path) -> None:
    (tmp_path / "qrels").write_text(FIVE)
    qrels = read_qrels(tmp_path / "qrels")
    assert qrels.query_ids.tolist() == ["9:1", "9:2"]
    assert qrels.task_id.tolist() == [0, 3]
    assert qrels.relevance.tolist() == [1, 2, 0]
    write_qrels(tmp_path / "again", qrels)
    assert (tmp_path / "again").read_text() == FIVE


def test_four_columns_have_no_tasks(tmp_path) -> None:
    (tmp_path / "qrels").write_text("a 0 b 1\n")
    qrels = read_qrels(tmp_path / "qrels")
    assert qrels.task_id is None
    write_qrels(tmp_path / "again", qrels)
    assert (tmp_path / "again").read_text() == "a 0 b 1\n"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a 0 b 1\na 0 c\n", "qrels: line 2: has 3 columns"),
        ("a 0 b 1\na 0 c x\n", "qrels: line 2: relevance 'x' is not a whole number"),
        ("a 0 b 1\na 0 c 0.5\n", "qrels: line 2: relevance '0.5' is not a whole number"),
        ("a 0 b 1\n\na 0 b 0\n", "qrels: line 3: a b is judged twice"),
        ("9:1 0 b 1 0\n9:1 0 c 1 3\n", "qrels: line 2: query 9:1 has two task numbers"),
    ],
)
def test_broken_qrels_are_reported_with_their_line(tmp_path, lines, message) -> None:
    (tmp_path / "qrels").write_text(lines)
    with pytest.raises(InputError, match=message):
        read_qrels(tmp_path / "qrels")


def test_an_unknown_id_is_reported_with_its_line(tmp_path) -> None:
    (tmp_path / "qrels").write_text("\n" + FIVE)
    qrels = read_qrels(tmp_path / "qrels")
    with pytest.raises(InputError, match=r"qrels: line 4: document 9:8 is not in pool\.jsonl"):
        check_known(qrels, ["9:7"], side="document", file="pool.jsonl")
    with pytest.raises(InputError, match=r"qrels: line 3: query 9:2 is not in q\.jsonl"):
        check_known(qrels, ["9:1", "9:3"], side="query", file="q.jsonl")
    check_known(qrels, ["9:2", "9:1", "9:3"], side="query", file="q.jsonl")


def test_a_run_with_a_query_that_was_not_judged_is_reported(tmp_path) -> None:
    (tmp_path / "qrels").write_text(FIVE)
    with pytest.raises(InputError, match="query 9:5 of the run is not judged"):
        judge(from_pairs(["9:1", "9:5"], ["9:7", "9:7"], [1, 1]), read_qrels(tmp_path / "qrels"))


def test_wordings_are_rankings_of_their_query(tmp_path) -> None:
    (tmp_path / "qrels").write_text(FIVE)
    ranking = from_pairs(["9:2#w1", "9:1", "9:2#w2"], ["9:7", "x", "9:7"], [1, 1, 1])
    judged, owner = judge(ranking, read_qrels(tmp_path / "qrels"))
    assert owner.tolist() == [1, 0, 1]
    assert judged.query.tolist() == [0, 2]
    assert judged.positives.tolist() == [1, 1, 1]


def test_a_run_of_many_blocks_is_judged_like_one_block(tmp_path, monkeypatch) -> None:
    rng = random.Random(2)
    lines = [f"q{q} 0 d{d} 1\n" for q in range(40) for d in rng.sample(range(30), 6)]
    (tmp_path / "qrels").write_text("".join(lines))
    pairs = [(f"q{q}", f"d{d}", rng.random()) for q in range(40) for d in rng.sample(range(30), rng.randint(1, 12))]
    ranking, qrels = from_pairs(*zip(*pairs, strict=True)), read_qrels(tmp_path / "qrels")
    whole = judge(ranking, qrels)[0]
    expected = [line.split()[0::2] for line in lines]
    retrieved = np.repeat(ranking.query_ids, np.diff(ranking.offsets)), ranking.document_ids[ranking.document]
    assert len(whole.rank) == sum([qid, did] in expected for qid, did in zip(*retrieved, strict=True))
    for size in (1, 7, 100):
        monkeypatch.setattr(qrels_module, "BLOCK_ROWS", size)
        assert judge(ranking, qrels)[0].rank.tolist() == whole.rank.tolist()

"""`mmembed rerank --tasks`: queries of other tasks keep what was retrieved for them, and are counted."""

from __future__ import annotations

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.retrieval.ranking import ranking_record
from tests.cli.test_rerank import K, by_query, command, llava, probabilities, reranked, run
from tests.reranking.world import Killed, dies_after
from tests.tiny import done, mmembed

__all__ = ["llava", "reranked", "run"]
TASKS = ("cirr_task7", "mscoco_task3")


@pytest.fixture(scope="module")
def some(tiny, run, llava, tmp_path_factory):
    """The same ranking with the queries of two tasks of four reranked, and what was printed."""
    out = tmp_path_factory.mktemp("some") / "out.parquet"
    return out, done(*command(tiny, run, out, "--model", llava, "--tasks", *TASKS)).out


def test_queries_of_the_tasks_are_reranked_and_the_others_stay_to_the_score(tiny, run, reranked, some):
    out, _ = some
    queries = DataDirectory(tiny.data).queries("test")
    before, whole, after = by_query(run), by_query(reranked), by_query(out)
    asked = {qid for qid in before if queries.by_id(qid).task in TASKS}
    assert 0 < len(asked) < len(before)
    for qid in before:
        assert after[qid] == (whole if qid in asked else before)[qid]
    assert {qid for qid, _ in probabilities(out)} == asked


def test_the_others_are_counted_in_the_record_and_said(tiny, some):
    out, printed = some
    found = ranking_record(out)["reranking"]
    assert (found["queries"], found["queries_left"], found["documents"]) == (8, 8, 8 * K)
    assert found["tasks"] == list(TASKS) and set(found["fallbacks"]) == set(TASKS)
    assert "8 queries of other tasks were left as they are" in printed


def test_a_killed_run_goes_on_with_the_queries_of_its_tasks(tiny, run, llava, some, tmp_path, monkeypatch):
    again = command(tiny, run, tmp_path / "out.parquet", "--model", llava, "--tasks", *TASKS)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        dies_after(2, patch)
        done(*again)
    done(*again)
    assert (tmp_path / "out.parquet").read_bytes() == some[0].read_bytes()


def test_answers_are_used_again_with_the_same_tasks_only(tiny, run, some, tmp_path):
    answers = ("--answers", some[0].with_name("out.answers.parquet"))
    done(*command(tiny, run, tmp_path / "out.parquet", *answers, "--tasks", *TASKS))
    assert by_query(tmp_path / "out.parquet") == by_query(some[0])
    refused = mmembed(*command(tiny, run, tmp_path / "other.parquet", *answers))
    assert refused.status == 2 and "answers about another tasks" in refused.err


def test_a_task_that_the_data_or_the_ranking_has_not_is_refused(tiny, run, tmp_path):
    ran = mmembed(*command(tiny, run, tmp_path / "out.parquet", "--oracle", "--tasks", "oven_task9"))
    assert ran.status == 2 and "task 'oven_task9' is unknown" in ran.err
    queries = DataDirectory(tiny.data).queries("test")
    only = [qid for qid in by_query(run) if queries.by_id(qid).task == "webqa_task1"]
    lines = [f"{qid} Q0 {did} {rank} {-rank} x" for qid in only for rank, (did, _) in enumerate(by_query(run)[qid], 1)]
    (tmp_path / "run.trec").write_text("\n".join(lines) + "\n")
    ran = mmembed(*command(tiny, tmp_path / "run.trec", tmp_path / "out.parquet", "--oracle", "--tasks", *TASKS))
    assert ran.status == 2 and "has no query of cirr_task7, mscoco_task3" in ran.err
    assert not (tmp_path / "out.parquet").exists()

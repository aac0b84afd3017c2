"""Rankings on disk: both forms, their one order, and what is wrong with a broken file."""

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.ranking import from_pairs, ranking_record, read_ranking, write_ranking

names = st.text(st.sampled_from("ab:019é"), min_size=1, max_size=4)
scores = st.sampled_from([-1.5, 0.0, 0.25, 2.0, float("inf"), 1e-3])
rows = st.lists(st.tuples(names, names, scores), min_size=1, max_size=60, unique_by=lambda row: row[:2])


def by_hand(pairs):
    """(qid, did, score): queries by first appearance, then score down, then did up."""
    order = list(dict.fromkeys(qid for qid, _, _ in pairs))
    return sorted(pairs, key=lambda row: (order.index(row[0]), -row[2], row[1]))


def unrolled(ranking):
    qids = np.repeat(ranking.query_ids, np.diff(ranking.offsets))
    dids = ranking.document_ids[ranking.document]
    return list(zip(qids, dids, ranking.score.tolist(), strict=True))


def rounded(pairs):
    return [(qid, did, float(np.float32(score))) for qid, did, score in pairs]


@given(rows)
def test_a_ranking_is_ordered_by_score_down_then_document_up(pairs) -> None:
    assert unrolled(from_pairs(*zip(*pairs, strict=True))) == by_hand(rounded(pairs))


@settings(max_examples=40, deadline=None)
@given(rows, st.booleans())
def test_what_is_written_is_read_back(tmp_path_factory, pairs, trec) -> None:
    path = tmp_path_factory.mktemp("run") / "run"
    ranking = from_pairs(*zip(*pairs, strict=True))
    write_ranking(path, ranking, trec=trec)
    assert unrolled(read_ranking(path)) == unrolled(ranking)


def test_parquet_has_the_four_columns_the_ranks_and_the_record(tmp_path) -> None:
    ranking = from_pairs(["q", "q", "p"], ["a", "b", "a"], [1, 2, 3])
    write_ranking(tmp_path / "run", ranking, record={"depth": 2})
    table = pq.read_table(tmp_path / "run")
    assert table.to_pylist() == [
        {"qid": "q", "did": "b", "rank": 1, "score": 2.0},
        {"qid": "q", "did": "a", "rank": 2, "score": 1.0},
        {"qid": "p", "did": "a", "rank": 1, "score": 3.0},
    ]
    assert json.loads(table.schema.metadata[b"mmembed"]) == {"depth": 2}
    assert ranking_record(tmp_path / "run") == {"depth": 2}


def test_a_trec_run_may_have_the_task_as_seventh_column(tmp_path) -> None:
    ranking = from_pairs(["9:1#w1", "9:2"], ["a", "b"], [1, 2])
    write_ranking(tmp_path / "run", ranking, trec=True, run_id="me", query_tasks={"9:1": 0, "9:2": 3})
    assert (tmp_path / "run").read_text() == "9:1#w1 Q0 a 1 1.0 me 0\n9:2 Q0 b 1 2.0 me 3\n"
    assert unrolled(read_ranking(tmp_path / "run")) == unrolled(ranking)
    assert ranking_record(tmp_path / "run") == {}


def test_the_ranks_of_a_file_do_not_count_its_scores_do(tmp_path) -> None:
    (tmp_path / "run").write_text("q Q0 a 1 0.1 x\nq Q0 b 2 0.9 x\n")
    assert [did for _, did, _ in unrolled(read_ranking(tmp_path / "run"))] == ["b", "a"]


def test_blanks_of_any_kind_and_empty_lines_are_read(tmp_path) -> None:
    (tmp_path / "run").write_text("\nq  Q0 a\t1   1.5 x\r\n\n  p Q0 b 1 -2e-1 x")
    assert unrolled(read_ranking(tmp_path / "run")) == rounded([("q", "a", 1.5), ("p", "b", -0.2)])
    (tmp_path / "tabs").write_text("q\tQ0\ta\t1\t1.5\tx\n")
    assert unrolled(read_ranking(tmp_path / "tabs")) == [("q", "a", 1.5)]


def test_ids_that_look_like_quotes_numbers_or_nothing_stay_strings(tmp_path) -> None:
    (tmp_path / "run").write_text('"1 Q0 007 1 1 x\nnull Q0 NA 1 1 x\n')
    assert unrolled(read_ranking(tmp_path / "run")) == [('"1', "007", 1.0), ("null", "NA", 1.0)]


def test_a_parquet_file_of_another_program_is_read(tmp_path) -> None:
    table = {"score": [1.0, 2.0], "did": ["x", "y"], "qid": ["b", "a"], "more": [1, 2]}
    pq.write_table(pa.table(table), tmp_path / "run")
    assert unrolled(read_ranking(tmp_path / "run")) == [("b", "x", 1.0), ("a", "y", 2.0)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("q Q0 a 1 1 x\nq Q0 b 2 1\n", r"run: line 2: has 5 columns"),
        ("\n\nq Q0 a\n", r"run: line 3: has 3 columns instead of 6 \(qid Q0 did rank score run_id\) or 7"),
        ("q Q0 a 1 1 x\n\nq Q0 b 2 high x\n", r"run: line 3: score 'high' is not a number"),
        ("q Q0 a 1 1 x\nq Q0 b\tc 1 1 x\n", r"run: line 2: has 7 columns"),
        ("q Q0 a 1 nan x\n", r"run: line 1: score 'nan' is not a number"),
        ("q Q0 a 1 1 x\np Q0 a 1 1 x\n\nq Q0 a 2 0 x\n", r"run: line 4: document a stands twice for query q"),
        ("", r"run: line 1: has 0 columns"),
    ],
)
def test_a_broken_run_is_reported_with_its_line(tmp_path, lines, message) -> None:
    (tmp_path / "run").write_text(lines)
    with pytest.raises(InputError, match=message):
        read_ranking(tmp_path / "run")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"qid": ["q"], "did": ["a"]}, r"run: is not a ranking of columns qid, did, score: .*score"),
        ({"qid": ["q", "q"], "did": ["a", "b"], "score": [1.0, float("nan")]}, "row 2: the score of b for q"),
        ({"qid": ["q", "q"], "did": ["a", "b"], "score": [1.0, None]}, "row 2: the score of b for q"),
        ({"qid": ["q", "q"], "did": ["a", "a"], "score": [1.0, 2.0]}, "row 2: document a stands twice"),
        ({"qid": ["q", "q"], "did": ["a", None], "score": [1.0, 2.0]}, "row 2: did is empty"),
        ({"qid": ["q"], "did": ["a"], "score": ["high"]}, r"run: is not a ranking.*high"),
    ],
)
def test_a_broken_parquet_ranking_is_reported_with_its_row(tmp_path, columns, message) -> None:
    pq.write_table(pa.table(columns), tmp_path / "run")
    with pytest.raises(InputError, match=message):
        read_ranking(tmp_path / "run")


def test_a_missing_a_truncated_and_a_binary_run_are_reported(tmp_path) -> None:
    with pytest.raises(InputError, match="nowhere: does not exist"):
        read_ranking(tmp_path / "nowhere")
    write_ranking(tmp_path / "run", from_pairs(["q"], ["a"], [1]))
    (tmp_path / "run").write_bytes((tmp_path / "run").read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a ranking"):
        read_ranking(tmp_path / "run")
    (tmp_path / "binary").write_bytes(bytes([0xFF, 0xFE, 0x00]) * 10)
    with pytest.raises(InputError, match="is neither Parquet nor UTF-8 text"):
        read_ranking(tmp_path / "binary")


def test_a_write_that_fails_leaves_no_file(tmp_path) -> None:
    ranking = from_pairs(["9:1"], ["a"], [1])
    with pytest.raises(KeyError):
        write_ranking(tmp_path / "run", ranking, trec=True, query_tasks={})
    assert not list(tmp_path.iterdir())


def test_many_rows_in_random_order_come_out_ordered() -> None:
    rng = random.Random(1)
    pairs = [(f"q{q}", f"d{d}", float(rng.randint(0, 5))) for q in range(30) for d in range(50)]
    rng.shuffle(pairs)
    assert unrolled(from_pairs(*zip(*pairs, strict=True))) == by_hand(pairs)


def test_the_mark_of_a_wording_is_taken_off_at_the_end_only() -> None:
    ids = np.array(["9:1#w1", "9:1#w12", "a#w1b", "9:2"], dtype=object)
    assert base_query_ids(ids).tolist() == ["9:1", "9:1", "a#w1b", "9:2"]


def test_names_are_found_among_others() -> None:
    assert places_in(["b", "x", "a"], ["a", "b"]).tolist() == [1, -1, 0]
    assert places_in([], ["a"]).tolist() == []
    assert places_in(["b", "a"], ["b", "a"]).tolist() == [0, 1]

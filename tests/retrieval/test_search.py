"""From two stores to a ranking: as a naive loop ranks, resumed where it was killed, never half written."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval import search as searching
from lit_mmembed.retrieval.ids import string_rank
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking
from lit_mmembed.retrieval.search import join_rankings, search, search_stores
from tests.retrieval.pools import naive
from tests.retrieval.stores import store_of, vectors_of

DOCUMENTS, QUERIES = 90, 11


@pytest.fixture
def stores(tmp_path):
    """11 queries and 90 documents, every third of which is a copy of another."""
    vectors = vectors_of(DOCUMENTS, seed=1)
    vectors[::3] = vectors[1::3]
    return store_of(tmp_path / "queries", vectors_of(QUERIES), side="query"), store_of(tmp_path / "pool", vectors)


def by_hand(queries, pool, depth, query_rows=None, rows=None):
    """[(qid, did, score)] by a naive loop, ties by the document's id as a string: d10 before d9."""
    rows = list(range(len(pool))) if rows is None else rows
    query_rows = list(range(len(queries))) if query_rows is None else query_rows
    names = [f"d{row}" for row in rows]
    tie_rank = [sorted(names).index(name) for name in names]
    score, found = naive(queries.vectors[query_rows], pool.vectors[rows].astype(np.float64), depth, tie_rank)
    return [
        (f"d{query}", names[place], value)
        for query, values, places in zip(query_rows, score, found, strict=True)
        for value, place in zip(values, places, strict=True)
    ]


def unrolled(ranking):
    qids = np.repeat(ranking.query_ids, np.diff(ranking.offsets))
    return list(zip(qids, ranking.document_ids[ranking.document], ranking.score.tolist(), strict=True))


def sized(stores, out, **options):
    """A search in blocks of 3 queries and tiles of 20 documents."""
    queries, pool = stores
    return search(
        queries.path, pool.path, out, **{"depth": 8, "device": "cpu", "query_block": 3, "tile": 20, **options}
    )


def spy_on_blocks(monkeypatch, *, killed_at=None):
    """Count the blocks that are searched; raise in place of block number `killed_at`."""
    searched, make_index = [], searching.make_index

    class Spy:
        def __init__(self, index):
            self.index = index

        def search(self, query, k):
            if len(searched) == killed_at:
                raise KeyboardInterrupt
            searched.append(len(query))
            return self.index.search(query, k)

    monkeypatch.setattr(searching, "make_index", lambda *a, **b: Spy(make_index(*a, **b)))
    return searched


@pytest.mark.parametrize("index", ["exact", "faiss"])
@pytest.mark.parametrize("name", ["run.parquet", "run.trec"])
def test_a_ranking_is_that_of_a_naive_loop_in_memory_and_on_disk(stores, tmp_path, index, name) -> None:
    ranking = sized(stores, tmp_path / name, index=index)
    assert unrolled(ranking) == by_hand(*stores, 8)
    assert unrolled(read_ranking(tmp_path / name)) == by_hand(*stores, 8)


def test_a_run_is_written_as_trec_where_its_name_says_so(stores, tmp_path) -> None:
    sized(stores, tmp_path / "run.trec", depth=2)
    rank_of = Counter()
    for line, (qid, did, score) in zip((tmp_path / "run.trec").open(), by_hand(*stores, 2), strict=True):
        rank_of[qid] += 1
        assert line.split()[:4] == [qid, "Q0", did, str(rank_of[qid])]
        assert np.float32(line.split()[4]) == np.float32(score)


def test_a_parquet_ranking_says_what_it_was_made_of(stores, tmp_path) -> None:
    sized(stores, tmp_path / "run.parquet")
    record = ranking_record(tmp_path / "run.parquet")
    hashes = {"queries_hash": stores[0].manifest["hash"], "candidates_hash": stores[1].manifest["hash"]}
    assert record.items() >= {**hashes, "depth": 8, "index": "exact", "weights_hash": "w" * 64}.items()


def test_more_documents_than_there_are_means_all_of_them(stores, tmp_path) -> None:
    assert unrolled(sized(stores, tmp_path / "run", depth=1000)) == by_hand(*stores, DOCUMENTS)


def test_a_killed_search_goes_on_where_it_stopped(stores, tmp_path, monkeypatch) -> None:
    sized(stores, tmp_path / "whole")
    with monkeypatch.context() as patch:
        assert spy_on_blocks(patch, killed_at=2) == []
        with pytest.raises(KeyboardInterrupt):
            sized(stores, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    progress = []
    searched = spy_on_blocks(monkeypatch)
    sized(stores, tmp_path / "run", progress=lambda done, total=None: progress.append((done, total)))
    assert searched == [3, 2]
    assert progress == [(0, 11), (3, None), (3, None), (3, None), (2, None)]
    assert (tmp_path / "run").read_bytes() == (tmp_path / "whole").read_bytes()
    assert not (tmp_path / "run.partial").exists()


@pytest.mark.parametrize("change", ["depth", "query_block", "index", "pool", "queries"])
def test_blocks_of_another_search_are_not_used(stores, tmp_path, monkeypatch, change) -> None:
    with monkeypatch.context() as patch:
        spy_on_blocks(patch, killed_at=3)
        with pytest.raises(KeyboardInterrupt):
            sized(stores, tmp_path / "run")
    queries, pool = stores
    if change == "pool":
        pool = store_of(tmp_path / "pool2", vectors_of(DOCUMENTS, seed=7))
    elif change == "queries":
        queries = store_of(tmp_path / "queries2", vectors_of(QUERIES, seed=8))
    options = {"depth": {"depth": 5}, "query_block": {"query_block": 2}, "index": {"index": "faiss"}}.get(change, {})
    searched = spy_on_blocks(monkeypatch)
    ranking = sized((queries, pool), tmp_path / "run", **options)
    assert sum(searched) == QUERIES
    assert unrolled(ranking) == by_hand(queries, pool, options.get("depth", 8))


def test_a_search_goes_on_with_smaller_tiles(stores, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        spy_on_blocks(patch, killed_at=3)
        with pytest.raises(KeyboardInterrupt):
            sized(stores, tmp_path / "run")
    searched = spy_on_blocks(monkeypatch)
    assert unrolled(sized(stores, tmp_path / "run", tile=7)) == by_hand(*stores, 8)
    assert searched == [2]


@pytest.mark.parametrize("name", ["run.parquet", "run.trec"])
def test_a_failure_while_writing_leaves_nothing_under_the_final_name(stores, tmp_path, monkeypatch, name) -> None:
    def half(path, *_):
        path.write_text("half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        for way in ("_write_parquet", "_write_trec"):
            patch.setattr(f"lit_mmembed.retrieval.ranking.{way}", half)
        with pytest.raises(OSError, match="disk full"):
            sized(stores, tmp_path / name)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pool", "queries", f"{name}.partial"]
    searched = spy_on_blocks(monkeypatch)
    assert unrolled(sized(stores, tmp_path / name)) == by_hand(*stores, 8)
    assert searched == []


def test_stores_of_different_weights_are_refused(stores, tmp_path) -> None:
    other = store_of(tmp_path / "other", vectors_of(QUERIES), weights_hash="other")
    with pytest.raises(InputError, match="made by other weights"):
        sized((other, stores[1]), tmp_path / "run")
    with pytest.raises(InputError, match="made by other weights"):
        search_stores(other, stores[1])


@pytest.mark.parametrize("option", ["depth", "tile", "query_block"])
def test_a_number_that_is_not_positive_is_refused(stores, tmp_path, option) -> None:
    with pytest.raises(InputError, match=f"{option.replace('_', ' ')} 0 is not positive"):
        sized(stores, tmp_path / "run", **{option: 0})
    with pytest.raises(InputError, match="is not positive"):
        search_stores(*stores, **{option: 0})


def test_a_folder_in_the_place_of_the_ranking_is_refused_before_the_search(stores, tmp_path, monkeypatch) -> None:
    searched = spy_on_blocks(monkeypatch)
    with pytest.raises(InputError, match="is a folder"):
        sized(stores, tmp_path)
    assert not searched


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_some_rows_are_searched_among_some_others(stores, index) -> None:
    query_rows, rows = [7, 2, 9], np.random.default_rng(0).permutation(DOCUMENTS)[:40]
    options = {"depth": 6, "device": "cpu", "query_block": 2, "tile": 9, "index": index}
    ranking = search_stores(*stores, query_rows=np.array(query_rows), candidate_rows=rows, **options)
    assert unrolled(ranking) == by_hand(*stores, 6, query_rows, rows.tolist())
    assert unrolled(search_stores(*stores, **options)) == by_hand(*stores, 6)


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_no_queries_and_no_documents_give_an_empty_ranking(stores, index) -> None:
    nothing = np.array([], dtype=np.int64)
    for rows in ({"query_rows": nothing}, {"candidate_rows": nothing}):
        ranking = search_stores(*stores, index=index, device="cpu", **rows)
        assert unrolled(ranking) == []
        assert len(ranking.offsets) == len(ranking.query_ids) + 1


def test_rankings_over_different_pools_are_joined(stores) -> None:
    parts = [([0, 4], list(range(0, 50))), ([10], [60, 3, 20, 61]), ([], list(range(5))), ([1], list(range(40, 90)))]
    joined = join_rankings(
        [
            search_stores(
                *stores, query_rows=np.array(query, dtype=int), candidate_rows=np.array(rows), depth=5, device="cpu"
            )
            for query, rows in parts
        ]
    )
    assert unrolled(joined) == [row for query, rows in parts for row in by_hand(*stores, 5, query, rows)]
    assert len(set(joined.document_ids)) == len(joined.document_ids)


def test_ties_are_in_the_order_of_code_points() -> None:
    names = np.array(["d9", "d10", "é", "z", "Z", "", "😀", "\uffff"], dtype=object)
    assert string_rank(names).tolist() == [sorted(names).index(name) for name in names]


BOUNDED = """
import resource, sys
from lit_mmembed.retrieval.search import search

queries, small, large, out, index = sys.argv[1:]
options = {"depth": 20, "device": "cpu", "tile": 2000, "index": index}
search(queries, small, out + ".small", **options)  # loads libraries, starts threads
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
limit = used * 1024 + int(25e6)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # files that are mapped, not read, do not count
search(queries, large, out, **options)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts memory on Linux only")
@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_memory_does_not_grow_with_the_pool(tmp_path, index) -> None:
    queries = store_of(tmp_path / "queries", vectors_of(16, 512))
    small = store_of(tmp_path / "small", vectors_of(4000, 512))
    large = store_of(tmp_path / "large", np.tile(vectors_of(2000, 512), (30, 1)))  # 61 MB
    arguments = [str(path) for path in (queries.path, small.path, large.path, tmp_path / "run")]
    subprocess.run([sys.executable, "-c", BOUNDED, *arguments, index], check=True)
    assert len(read_ranking(tmp_path / "run").document) == 16 * 20

"""FAISS against a naive loop: the same documents in the same order as the exact search, near-ties too."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval import faiss_index
from lit_mmembed.retrieval.faiss_index import FlatFaiss, search_shards
from lit_mmembed.retrieval.index import make_index
from tests.retrieval.pools import Pool, assert_found_as_naive, gaussian, nearly_equal, pools


def faiss_over(pool: Pool) -> FlatFaiss:
    return FlatFaiss(pool.candidate, tie_rank=pool.tie_rank, device="cpu", tile=pool.tile)


@settings(max_examples=100, deadline=None)
@given(pools())
def test_the_best_documents_are_those_of_a_naive_loop(pool) -> None:
    assert_found_as_naive(faiss_over(pool), pool)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_ids_and_scores_are_those_of_the_exact_search(dtype) -> None:
    pool = gaussian(20_000, queries=50, dimension=64, k=100, tile=7000, dtype=dtype)
    found = [
        make_index(kind, pool.candidate, tie_rank=pool.tie_rank, device="cpu", tile=pool.tile).search(pool.query, 100)
        for kind in ("exact", "faiss")
    ]
    assert (found[0][0] == found[1][0]).all()
    assert (found[0][1] == found[1][1]).all()


def test_more_near_ties_than_the_margin_holds_are_left_to_the_exact_search() -> None:
    pool = gaussian(3000, queries=6, dimension=24, k=5, tile=800)
    candidate = pool.candidate.copy()
    candidate[100:400] = pool.query[0]  # the nearest of query 0, 300 times
    tie_rank = np.random.default_rng(3).permutation(3000)
    pool = pool._replace(candidate=candidate, tie_rank=tie_rank)
    assert_found_as_naive(faiss_over(pool), pool)


@pytest.mark.parametrize("documents", [60, 300])
@pytest.mark.parametrize("bits", [24, 22, 21, 20, 19])
def test_near_ties_that_a_product_may_swap_are_left_to_the_exact_search(documents, bits) -> None:
    for seed in range(3):
        pool = nearly_equal(documents, bits=bits, seed=seed)._replace(k=5)
        assert_found_as_naive(faiss_over(pool), pool)


def test_an_ordinary_pool_is_searched_by_faiss_alone(monkeypatch) -> None:
    monkeypatch.setattr(faiss_index, "ExactSearch", None)
    pool = gaussian(3000, k=10)
    assert_found_as_naive(faiss_over(pool), pool)


def test_shards_are_searched_side_by_side_and_merged() -> None:
    pool = gaussian(1000, queries=5, k=20)
    shards = []
    for first, stop in [(0, 300), (300, 300), (300, 310), (310, 1000)]:
        index = faiss.IndexFlatIP(32)
        index.add(pool.candidate[first:stop])
        shards.append((first, index))
    score, row = search_shards(shards, pool.query, 20)
    whole = pool.query @ pool.candidate.T
    assert (row == np.argsort(-whole, axis=1)[:, :20]).all()
    np.testing.assert_allclose(score, np.take_along_axis(whole, row, axis=1), rtol=1e-5)


def test_without_a_gpu_no_gpu_function_of_faiss_is_called(monkeypatch) -> None:
    called = []
    for name in [name for name in dir(faiss) if "gpu" in name.lower() and callable(getattr(faiss, name))]:
        monkeypatch.setattr(faiss, name, lambda *_, name=name, **__: called.append(name))
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    pool = gaussian(100)
    assert_found_as_naive(FlatFaiss(pool.candidate, tie_rank=pool.tie_rank, device="auto", tile=30), pool)
    assert not called


def test_more_documents_than_a_gpu_can_find_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    pool = gaussian(3000)
    with pytest.raises(InputError, match="at most 2048"):
        FlatFaiss(pool.candidate, tie_rank=pool.tie_rank).search(pool.query, 2049)


def test_an_empty_pool_and_an_empty_block_find_nothing() -> None:
    pool = gaussian(50)
    assert faiss_over(pool).search(pool.query[:0], 10)[1].shape == (0, 10)
    nothing = FlatFaiss(pool.candidate[:0], tie_rank=pool.tie_rank[:0], device="cpu")
    assert nothing.search(pool.query, 10)[1].shape == (8, 0)

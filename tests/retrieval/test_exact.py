"""The exact search against a naive loop: shapes, ties, tiles, and memory where every document is near the best."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval import exact
from lit_mmembed.retrieval.exact import ExactSearch
from lit_mmembed.retrieval.index import make_index
from lit_mmembed.retrieval.rescoring import best_of_tile, fixed_scores
from tests.retrieval.pools import Pool, assert_found_as_naive, gaussian, naive, nearly_equal, pools


def exact_over(pool: Pool, tile: int | None = None) -> ExactSearch:
    return ExactSearch(pool.candidate, tie_rank=pool.tie_rank, device="cpu", tile=tile or pool.tile)


@settings(max_examples=150, deadline=None)
@given(pools())
def test_the_best_documents_are_those_of_a_naive_loop(pool) -> None:
    assert_found_as_naive(exact_over(pool), pool)


@settings(max_examples=60, deadline=None)
@given(pools())
def test_crowds_of_near_ties_are_settled_in_pieces_with_the_same_result(pool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "CROWD", 2)
        patch.setattr(exact, "GROUPS_AT_A_TIME", 3)
        assert_found_as_naive(exact_over(pool), pool)


@pytest.mark.parametrize("order", ["as it comes", "best last", "best first"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_many_tiles_of_many_groups_are_searched_as_a_naive_loop_does(order, dtype) -> None:
    pool = gaussian(2000, queries=3, dimension=16, k=3, tile=600, dtype=dtype)
    rank = np.argsort(pool.candidate.astype(np.float64) @ pool.query[0].astype(np.float64))
    rows = {"as it comes": np.arange(2000), "best last": rank, "best first": rank[::-1]}[order]
    pool = pool._replace(candidate=pool.candidate[rows])
    assert_found_as_naive(exact_over(pool), pool)


@pytest.mark.parametrize("tile", [1, 999, 5000, 1 << 20])
def test_tiles_change_neither_scores_nor_order(tile) -> None:
    pool = gaussian(5000, queries=20, dimension=64)
    score, row = exact_over(pool).search(pool.query, 10)
    if tile == 1:
        pool = pool._replace(candidate=pool.candidate[:300], tie_rank=pool.tie_rank[:300])
        score, row = exact_over(pool).search(pool.query, 10)
    tiled_score, tiled_row = exact_over(pool, tile).search(pool.query, 10)
    assert (tiled_score == score).all()
    assert (tiled_row == row).all()


def test_a_query_alone_has_the_scores_that_it_has_in_a_block() -> None:
    pool = gaussian(3000, queries=33, dimension=100)
    index = exact_over(pool)
    together = index.search(pool.query, 10)
    for place in range(33):
        score, row = index.search(pool.query[place : place + 1], 10)
        assert (score[0] == together[0][place]).all()
        assert (row[0] == together[1][place]).all()


@pytest.mark.parametrize("dimension", [1, 7, 768, 4099])
def test_a_pair_has_one_score_whatever_stands_beside_it(dimension) -> None:
    pool = gaussian(300, queries=2, dimension=dimension)
    together = fixed_scores(pool.query, pool.candidate, np.tile(np.arange(300), (2, 1)))
    for row in range(0, 300, 7):
        assert (fixed_scores(pool.query, pool.candidate, np.full((2, 1), row))[:, 0] == together[:, row]).all()


def test_a_pool_of_equal_vectors_is_ranked_by_id() -> None:
    generator = np.random.default_rng(0)
    vector = generator.normal(size=(1, 48)).astype(np.float32)
    tie_rank = generator.permutation(6000)
    index = ExactSearch(np.repeat(vector, 6000, axis=0), tie_rank=tie_rank, device="cpu", tile=2500)
    score, row = index.search(generator.normal(size=(5, 48)), 7)
    assert (row == np.argsort(tie_rank)[:7]).all()
    assert (score == score[:, :1]).all()


def test_documents_that_differ_by_less_than_a_product_can_tell_keep_their_order() -> None:
    pool = nearly_equal(2000)
    assert_found_as_naive(exact_over(pool), pool)


def test_products_stay_in_full_precision_where_a_script_allowed_less(monkeypatch) -> None:
    pool, during, mm = gaussian(500), [], torch.mm

    def watched(*arguments, **options):
        during.append(torch.get_float32_matmul_precision())
        return mm(*arguments, **options)

    monkeypatch.setattr(torch, "mm", watched)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert_found_as_naive(exact_over(pool), pool)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(during) == {"highest"}


def test_an_empty_pool_and_an_empty_block_find_nothing() -> None:
    pool = gaussian(50)
    score, row = exact_over(pool).search(pool.query[:0], 10)
    assert (score.shape, row.shape) == ((0, 10), (0, 10))
    nothing = ExactSearch(pool.candidate[:0], tie_rank=pool.tie_rank[:0], device="cpu")
    score, row = nothing.search(pool.query, 10)
    assert (score.shape, row.shape) == ((8, 0), (8, 0))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_cuda_without_a_device_is_refused(kind) -> None:
    pool = gaussian(5)
    with pytest.raises(InputError, match="--device cpu"):
        make_index(kind, pool.candidate, tie_rank=pool.tie_rank, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["exact", "faiss"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_gpu_finds_what_the_cpu_finds(kind, dtype) -> None:
    pool = gaussian(20_000, queries=100, dimension=256, k=50, tile=3000, dtype=dtype)
    if kind == "faiss" and dtype == "float32":
        pool = pool._replace(candidate=pool.candidate.astype(np.float16).astype(np.float32))
    pool = pool._replace(query=pool.query.astype(np.float16).astype(np.float32))
    score, row = exact_over(pool).search(pool.query, 50)
    index = make_index(kind, pool.candidate, tie_rank=pool.tie_rank, device="cuda", tile=pool.tile)
    gpu_score, gpu_row = index.search(pool.query, 50)
    assert (gpu_score == score).all()
    assert (gpu_row == row).all()


@settings(max_examples=100, deadline=None)
@given(pools())
def test_the_best_of_a_crowded_tile_are_those_of_a_naive_loop(pool) -> None:
    if len(pool.query):
        score, place = best_of_tile(pool.query, pool.candidate, pool.k, pool.tie_rank)
        assert (score.tolist(), place.tolist()) == naive(pool.query, pool.candidate, pool.k, pool.tie_rank)


def test_a_pair_whose_rounding_is_unclear_has_the_fixed_score_in_a_crowd_too() -> None:
    """1 + 2**-24 lies between two float32; terms of 2**-53 tip it to one or the other, by the order of the sum."""
    query = np.ones((1, 64), dtype=np.float32)
    candidate = np.zeros((200, 64), dtype=np.float32)
    candidate[:, 20], candidate[:, 40] = 1, 2.0**-24
    candidate[:, 41:] = 2.0**-53 * np.random.default_rng(0).integers(-2, 3, (200, 23))
    score, place = best_of_tile(query, candidate, 200, np.arange(200))
    assert (score == fixed_scores(query, candidate, place)).all()
    assert len(np.unique(score)) == 2

"""A mixture's order: the shares hold in every batch, each source is used up evenly, and any batch can be the first."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.data.mixture import Drawn, MixedSource, Mixture, MixtureOrder, shares
from lit_mmembed.data.order import EpochSampler
from lit_mmembed.errors import InputError

SIZES = (90, 30, 7)
FIRST = (0, 90, 120)
DRAWN = [Drawn(np.arange(first, first + size), np.arange(size) % 3) for first, size in zip(FIRST, SIZES, strict=True)]


def mixture_of(**arguments):
    return Mixture([MixedSource("b"), MixedSource("c")], **arguments)


def order_of(share=(0.5, 0.3, 0.2), batch_size=16, **arguments):
    return MixtureOrder(DRAWN, np.array(share), batch_size=batch_size, seed=arguments.pop("seed", 4), **arguments)


def source_of(row):
    return int(np.searchsorted(FIRST, row, side="right")) - 1


def rows_of(order, epochs=1):
    return [[row for _, _, row in order.batch(e, n)] for e in range(epochs) for n in range(order.batches())]


@given(
    weights=st.lists(st.floats(0, 5), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.01),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_batch_is_full_and_has_each_share_rounded_up_or_down(weights, batch_size, seed):
    share = np.array(weights) / np.sum(weights)
    if batch_size > sum(size for size, part in zip(SIZES, share, strict=True) if part):
        return
    for rows in rows_of(order_of(share, batch_size, seed=seed)):
        assert len(rows) == batch_size
        for place, part in enumerate(share):
            count = sum(source_of(row) == place for row in rows)
            assert np.floor(part * batch_size - 1e-9) <= count <= np.ceil(part * batch_size + 1e-9)


def test_shares_below_one_query_a_batch_are_met_over_many():
    rows = list(chain(*rows_of(order_of((0.9, 0.07, 0.03), batch_size=8), epochs=40)))
    found = Counter(source_of(row) for row in rows)
    assert [found[place] / len(rows) for place in range(3)] == pytest.approx([0.9, 0.07, 0.03], abs=0.01)


def test_the_queries_of_a_source_come_in_whole_permutations():
    rows = list(chain(*rows_of(order_of(), epochs=3)))
    for place, size in enumerate(SIZES):
        counts = Counter(row for row in rows if source_of(row) == place)
        assert max(counts.values()) - min(counts.values() if len(counts) == size else [0]) <= 1
    # permutations differ
    small = [row for row in rows if source_of(row) == 2]
    turns = [tuple(small[start : start + 7]) for start in range(0, len(small) - 7, 7)]
    assert len(turns) > 5 and len(set(turns)) > len(turns) // 2


def test_an_epoch_has_as_many_queries_as_the_sources_of_positive_share():
    assert order_of(batch_size=10).batches() == 12
    assert order_of((0.5, 0.5, 0), batch_size=10).batches() == 12
    assert order_of((0, 0.5, 0.5), batch_size=10).batches() == 3
    assert all(source_of(row) for row in chain(*rows_of(order_of((0, 0.5, 0.5), batch_size=10), epochs=3)))


def test_batches_are_the_same_whichever_is_asked_for_first():
    straight, jumping = order_of(), order_of()
    wanted = [(epoch, number) for epoch in range(4) for number in range(straight.batches())]
    expected = {place: straight.batch(*place) for place in wanted}
    for place in np.random.default_rng(1).permutation(wanted):
        assert jumping.batch(*map(int, place)) == expected[tuple(map(int, place))]


def test_positions_within_an_epoch_are_all_different():
    order = order_of()
    draws = [draw for number in range(order.batches()) for draw in order.batch(1, number)]
    assert [draw[:2] for draw in draws] == [(1, place) for place in range(len(draws))]


@pytest.mark.parametrize("mixing", ["mixed", "one_task"])
def test_processes_share_a_batch(mixing):
    order = order_of(mixing=mixing)
    samplers = [EpochSampler(order, rank=rank, world=3) for rank in range(3)]
    for sampler in samplers:
        sampler.resume(1, 2)
    together = [list(chain(*parts)) for parts in zip(*samplers, strict=True)]
    assert together == [order.batch(1, number) for number in range(2, order.batches())]


def test_one_task_batches_have_one_task_of_one_source_as_often_as_the_shares_say():
    order = order_of((0.2, 0.5, 0.3), batch_size=4, mixing="one_task")
    kinds = []
    for rows in rows_of(order, epochs=20):
        found = {(source_of(row), (row - FIRST[source_of(row)]) % 3) for row in rows}
        assert len(found) == 1
        kinds.append(found.pop())
    counts = Counter(source for source, _ in kinds)
    assert [counts[place] / len(kinds) for place in range(3)] == pytest.approx([0.2, 0.5, 0.3], abs=0.06)
    assert len(set(kinds)) == 9


def test_a_mixture_that_fills_no_batch_is_refused():
    with pytest.raises(InputError, match="127 training queries do not fill one batch of 128"):
        order_of(batch_size=128)


def test_proportional_counts_queries_and_uniform_sources():
    assert shares(mixture_of(), SIZES) == pytest.approx(np.array(SIZES) / 127)
    assert shares(mixture_of(weights="uniform"), SIZES) == pytest.approx([1 / 3] * 3)


def test_given_weights_are_relative():
    mixture = Mixture([MixedSource("b", weight=3), MixedSource("c", weight=0)], weights="given", weight=1)
    assert shares(mixture, SIZES) == pytest.approx([0.25, 0.75, 0])


@pytest.mark.parametrize(
    ("mixture", "problem"),
    [
        (Mixture([MixedSource("b", weight=0)], weights="given", weight=0), "the weight of every source is zero"),
        (Mixture([MixedSource("b", weight=-1)], weights="given", weight=2), "the weight of b is -1"),
        (Mixture([MixedSource("b", weight=float("nan"))], weights="given", weight=2), "the weight of b is nan"),
        (Mixture([MixedSource("b", weight=1)], weights="given"), "the weight of data.path is None"),
        (Mixture([MixedSource("b", weight=1)]), "weights are given, and not used under proportional"),
    ],
)
def test_weights_that_cannot_be_meant_are_refused(mixture, problem):
    with pytest.raises(InputError, match=problem):
        shares(mixture, (3, 3))

"""The order of the queries: the same for any number of processes, and resumable at any batch."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.data.order import BatchOrder, EpochSampler, slice_for
from lit_mmembed.errors import InputError

TASK = np.random.default_rng(0).integers(0, 3, 101)


def epoch_of(order, epoch):
    return [order.batch(epoch, number) for number in range(order.batches())]


@given(batch_size=st.integers(1, 40), seed=st.integers(0, 9), mixing=st.sampled_from(["mixed", "one_task"]))
@settings(max_examples=50, deadline=None)
def test_an_epoch_without_drop_has_every_query_once(batch_size, seed, mixing):
    order = BatchOrder(TASK, batch_size=batch_size, seed=seed, mixing=mixing, drop_last=False)
    draws = [draw for batch in epoch_of(order, 3) for draw in batch]
    assert sorted(row for _, _, row in draws) == list(range(len(TASK)))
    assert [position for _, position, _ in draws] == list(range(len(TASK)))


def test_batches_are_full_when_the_last_is_dropped():
    order = BatchOrder(TASK, batch_size=16, seed=0)
    assert [len(batch) for batch in epoch_of(order, 0)] == [16] * 6


def test_epochs_and_seeds_differ_and_repeat_exactly():
    order = BatchOrder(TASK, batch_size=16, seed=0)
    assert epoch_of(order, 0) == epoch_of(BatchOrder(TASK, batch_size=16, seed=0), 0)
    rows = [[row for batch in epoch_of(o, e) for _, _, row in batch] for o, e in
            [(order, 0), (order, 1), (BatchOrder(TASK, batch_size=16, seed=1), 0)]]  # fmt: skip
    assert rows[0] != rows[1] != rows[2] != rows[0]


def test_one_task_batches_have_one_task_and_are_mixed_among_each_other():
    order = BatchOrder(TASK, batch_size=8, seed=0, mixing="one_task")
    tasks = [{int(TASK[row]) for _, _, row in batch} for batch in epoch_of(order, 0)]
    assert all(len(found) == 1 for found in tasks)
    sequence = [found.pop() for found in tasks]
    assert sequence != sorted(sequence)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("mixing", ["mixed", "one_task"])
def test_any_number_of_processes_sees_the_same_global_order(world, mixing):
    order = BatchOrder(TASK, batch_size=13, seed=5, mixing=mixing, drop_last=False)
    samplers = [EpochSampler(order, rank=rank, world=world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(2)
    together = [list(chain(*parts)) for parts in zip(*samplers, strict=True)]
    assert together == epoch_of(order, 2)


@given(count=st.integers(0, 50), world=st.integers(1, 8))
def test_slices_differ_by_at_most_one(count, world):
    batch = [(0, place, place) for place in range(count)]
    parts = [slice_for(batch, rank, world) for rank in range(world)]
    assert list(chain(*parts)) == batch
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(start=st.integers(0, 6), epoch=st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_resuming_at_a_batch_gives_the_rest_of_the_epoch_and_the_next_ones(start, epoch):
    order = BatchOrder(TASK, batch_size=16, seed=0)
    sampler = EpochSampler(order)
    sampler.resume(epoch, start)
    sampler.set_epoch(epoch)
    assert list(sampler) == epoch_of(order, epoch)[start:]
    sampler.set_epoch(epoch + 1)
    assert list(sampler) == epoch_of(order, epoch + 1)
    assert len(sampler) == order.batches()


def test_repeats_make_an_upsampled_epoch():
    repeats = np.array([1, 3, 0, 2])
    order = BatchOrder(np.zeros(4), batch_size=2, seed=0, repeats=repeats)
    rows = [row for batch in epoch_of(order, 0) for _, _, row in batch]
    assert np.bincount(rows, minlength=4).tolist() == [1, 3, 0, 2]


def test_too_few_queries_for_a_batch_is_an_error():
    with pytest.raises(InputError, match="do not fill one batch"):
        BatchOrder(TASK, batch_size=200, seed=0)

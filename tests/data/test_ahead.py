from __future__ import annotations

import threading

import pytest

from lit_mmembed.data.ahead import AHEAD, prepared_ahead


def test_batches_come_in_order_with_what_was_made_of_them():
    assert list(prepared_ahead(lambda n: n * n, range(9))) == [(n, n * n) for n in range(9)]
    assert list(prepared_ahead(lambda n: n, [])) == []


def test_an_error_is_raised_when_its_batch_is_due():
    def make(n: int) -> float:
        return 1 / (3 - n)

    seen = []
    with pytest.raises(ZeroDivisionError):
        for batch, _ in prepared_ahead(make, range(9)):
            seen.append(batch)
    assert seen == [0, 1, 2]


def test_only_a_few_batches_are_made_ahead_and_none_after_the_reader_stops():
    made, threads = [], threading.active_count()
    batches = prepared_ahead(made.append, range(100))
    next(batches)
    batches.close()
    assert len(made) <= 1 + AHEAD and threading.active_count() == threads

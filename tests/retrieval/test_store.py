"""Stores: filled in any order by any number of processes, killed and gone on with, refused where they are broken."""

import errno
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval import store as stores
from lit_mmembed.retrieval.store import MANIFEST_FILE, ROWS_FILE, VECTORS_FILE, Store, check_same_weights
from tests.retrieval.stores import store_of, vectors_of, writer

SPAWN = multiprocessing.get_context("spawn")


def in_process(work, *arguments):
    process = SPAWN.Process(target=work, args=arguments)
    process.start()
    return process


def fill(path, rows, count):
    own = writer(path, count)
    for row in rows:
        own.write(np.array([row]), vectors_of(count)[[row]])
    own.flush()


def fill_and_be_killed(path, safe, unsafe, count):
    own = writer(path, count)
    own.write(safe, vectors_of(count)[safe])
    own.flush()
    own.write(unsafe, np.ones((len(unsafe), 8)))
    os.kill(os.getpid(), signal.SIGKILL)


def test_rows_written_in_any_order_lie_in_their_places(tmp_path) -> None:
    vectors, order = vectors_of(50), np.random.default_rng(1).permutation(50)
    started = writer(tmp_path / "store", 50, dtype="float32")
    for rows in np.split(order, [7, 8, 30]):
        started.write(rows, vectors[rows])
    started.finish()
    store = Store(tmp_path / "store")
    assert len(store) == 50
    assert (store.vectors == vectors).all()
    assert store.ids.tolist() == [f"d{row}" for row in range(50)]
    assert store.modality.tolist() == [row % 3 for row in range(50)]
    assert store.task.tolist() == [-1] * 50
    assert isinstance(store.vectors, np.memmap)


def test_a_store_holds_three_files_and_says_what_made_it(tmp_path) -> None:
    store = store_of(tmp_path / "store", vectors_of(5))
    assert sorted(file.name for file in store.path.iterdir()) == [MANIFEST_FILE, ROWS_FILE, VECTORS_FILE]
    assert [file.name for file in tmp_path.iterdir()] == ["store"]
    assert store.vectors.dtype == np.float16
    expected = {"weights_hash": "w" * 64, "data_hash": "d", "dtype": "float16", "dimension": 8, "count": 5, "schema": 1}
    assert store.manifest.items() >= expected.items()


def test_the_hash_is_that_of_the_content(tmp_path) -> None:
    first, same, other = (
        store_of(tmp_path / name, vectors_of(5, seed=seed)).manifest["hash"]
        for name, seed in [("first", 0), ("same", 0), ("other", 1)]
    )
    assert first == same != other


def test_several_processes_fill_one_store(tmp_path) -> None:
    processes = [in_process(fill, tmp_path / "store", range(part, 60, 3), 60) for part in range(3)]
    for process in processes:
        process.join()
    last = writer(tmp_path / "store", 60)
    assert not len(last.missing_rows())
    last.finish()
    assert (Store(tmp_path / "store").vectors == vectors_of(60).astype(np.float16)).all()


def test_a_killed_run_goes_on_with_the_rows_that_were_not_safe(tmp_path) -> None:
    process = in_process(fill_and_be_killed, tmp_path / "store", np.arange(0, 20), np.arange(20, 25), 40)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    again = writer(tmp_path / "store", 40)
    assert again.missing_rows().tolist() == list(range(20, 40))
    again.write(again.missing_rows(), vectors_of(40)[20:])
    again.finish()
    assert (Store(tmp_path / "store").vectors == vectors_of(40).astype(np.float16)).all()


def test_rows_are_safe_only_after_a_flush(tmp_path) -> None:
    started = writer(tmp_path / "store", 4)
    started.write(np.array([2, 0]), vectors_of(2))
    assert started.missing_rows().tolist() == [0, 1, 2, 3]
    started.flush()
    assert started.missing_rows().tolist() == [1, 3]


def test_a_torn_end_of_a_journal_is_not_believed(tmp_path) -> None:
    started = writer(tmp_path / "store", 6)
    started.write(np.array([5, 4]), vectors_of(2))
    started.flush()
    [journal] = started.partial.glob("journal.*")
    journal.write_bytes(journal.read_bytes()[:-3])
    again = writer(tmp_path / "store", 6)
    assert again.missing_rows().tolist() == [0, 1, 2, 3, 4]
    again.write(np.array([1]), vectors_of(1))
    again.flush()
    assert again.missing_rows().tolist() == [0, 2, 3, 4]


@pytest.mark.parametrize(
    "difference", [{"weights_hash": "other"}, {"names": "e{}"}, {"dtype": "float32"}, {"dimension": 4}, {"count": 7}]
)
def test_a_partial_store_of_anything_else_is_discarded(tmp_path, difference) -> None:
    first = writer(tmp_path / "store", 6)
    first.write(np.arange(6), vectors_of(6))
    first.flush()
    options = {"count": 6, **difference}
    other = writer(tmp_path / "store", **options)
    assert len(other.missing_rows()) == options["count"]
    assert [file.name for file in tmp_path.iterdir()] == ["store.partial"]


def test_a_process_that_comes_second_does_not_move_the_store_that_the_first_is_opening(tmp_path, monkeypatch) -> None:
    writer(tmp_path / "store", 6)
    real, moved = Path.rename, []
    monkeypatch.setattr(Path, "rename", lambda path, target: (moved.append(path.name), real(path, target)))
    monkeypatch.setattr(stores, "_is_of", late(stores._is_of))
    writer(tmp_path / "store", 6)
    assert "store.partial" not in moved


def late(is_of: Callable[[Path, str], bool]) -> Callable[[Path, str], bool]:
    """Answer the first time as if the other process had not been there yet."""
    answers = iter([False])
    return lambda *given: next(answers, None) is not False and is_of(*given)


def test_a_partial_store_that_was_being_discarded_does_not_stop_the_next(tmp_path) -> None:
    (tmp_path / "store.partial").mkdir()
    (tmp_path / "store.partial" / VECTORS_FILE).write_bytes(b"left over")
    store = store_of(tmp_path / "store", vectors_of(3))
    assert len(store) == 3


def test_a_row_that_was_never_written_is_named(tmp_path) -> None:
    started = writer(tmp_path / "store", 5)
    started.write(np.array([0, 1, 4]), vectors_of(3))
    with pytest.raises(InputError, match="2 rows were not embedded") as caught:
        started.finish()
    assert caught.value.record == "d2"
    assert not (tmp_path / "store").exists()
    started.write(np.array([2, 3]), vectors_of(2))
    started.finish()
    assert len(Store(tmp_path / "store")) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e5])
def test_a_vector_that_is_not_finite_is_refused_by_its_id(tmp_path, bad) -> None:
    started = writer(tmp_path / "store", 5)
    vectors = vectors_of(3)
    vectors[1, 2] = bad  # 1e5 is infinite in float16
    with pytest.raises(InputError, match="not finite") as caught:
        started.write(np.array([4, 3, 0]), vectors)
    assert caught.value.record == "d3"
    started.flush()
    assert len(started.missing_rows()) == 5


def test_a_finished_store_is_not_written_over(tmp_path) -> None:
    store_of(tmp_path / "store", vectors_of(2))
    with pytest.raises(InputError, match="exists already"):
        writer(tmp_path / "store", 2)


def test_an_unfinished_store_is_refused(tmp_path) -> None:
    writer(tmp_path / "store", 3)
    with pytest.raises(InputError, match="is not finished"):
        Store(tmp_path / "store")
    with pytest.raises(InputError, match="is not a store"):
        Store(tmp_path / "nothing")


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def of_fewer_rows(path):
    pq.write_table(pq.read_table(path).slice(1), path)


def of_another_shape(path):
    np.save(path, np.zeros((9, 7), dtype=np.float16))


def of_a_later_schema(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (VECTORS_FILE, cut),
        (VECTORS_FILE, lambda path: path.write_bytes(b"")),
        (VECTORS_FILE, lambda path: path.unlink()),
        (VECTORS_FILE, of_another_shape),
        (ROWS_FILE, cut),
        (ROWS_FILE, lambda path: path.unlink()),
        (ROWS_FILE, of_fewer_rows),
        (MANIFEST_FILE, cut),
        (MANIFEST_FILE, of_a_later_schema),
    ],
)
def test_a_damaged_store_is_refused_by_name(tmp_path, file, damage) -> None:
    path = store_of(tmp_path / "store", vectors_of(9)).path
    damage(path / file)
    with pytest.raises(InputError) as caught:
        Store(path)
    assert str(path) in str(caught.value)


def test_stores_of_other_weights_or_length_are_not_compared(tmp_path) -> None:
    store = store_of(tmp_path / "store", vectors_of(3))
    for name, options, dimension in [("weights", {"weights_hash": "v"}, 8), ("length", {}, 4)]:
        other = store_of(tmp_path / name, vectors_of(3, dimension), **options)
        with pytest.raises(InputError, match="encode both with the same model"):
            check_same_weights(store, other)
    check_same_weights(store, store)


def test_an_empty_store_is_a_store(tmp_path) -> None:
    assert len(store_of(tmp_path / "store", vectors_of(0))) == 0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
def test_a_store_that_the_disk_cannot_hold_is_refused_at_the_start(tmp_path, monkeypatch):
    def full(descriptor, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        writer(tmp_path / "store", 3)
    assert not list(tmp_path.iterdir())

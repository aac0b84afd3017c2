"""`mmembed predict` goes on where it was killed, and does nothing again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.retrieval import store as stores
from lit_mmembed.retrieval.store import Store, StoreWriter
from tests.tiny import ROOT, Tiny, done, mmembed
from tests.training.callbacks import Stopped

WRITER = "lit_mmembed.training.callbacks.embeddings.EmbeddingWriter"


def predict(tiny: Tiny, tiny_run: Path, out: Path, **settings: object) -> list[object]:
    flags = (f"--trainer.callbacks+={WRITER}", f"--trainer.callbacks.init_args.path={out}", "--allow-imports=tests")
    given = {"data__predict": "test", "model__weights": tiny_run / "model", "data__encode_rows": 8, **settings}
    return tiny.fit(out.parent / "run", *flags, command="predict", **given)


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tiny_run: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "stores"
    done(*predict(tiny, tiny_run, out))
    return out


@pytest.fixture
def written(monkeypatch) -> list[int]:
    """How many rows each batch wrote."""
    found: list[int] = []
    real = StoreWriter.write

    def write(self, rows, vectors):
        found.append(len(rows))
        real(self, rows, vectors)

    monkeypatch.setattr(StoreWriter, "write", write)
    return found


def same(one: Path, other: Path) -> bool:
    return all(
        Store(one / side).manifest == Store(other / side).manifest
        and np.array_equal(Store(one / side).vectors, Store(other / side).vectors)
        for side in ("queries", "candidates")
    )


@pytest.mark.parametrize("lost", [(), ("candidates",), ("queries",), ("queries", "candidates")])
def test_a_store_that_is_there_is_not_made_again(tiny, tiny_run, whole, written, tmp_path, lost):
    out = shutil.copytree(whole, tmp_path / "stores")
    rows = sum(len(Store(out / side)) for side in lost)
    for side in lost:
        shutil.rmtree(out / side)
    done(*predict(tiny, tiny_run, out))
    assert sum(written) == rows
    assert same(out, whole)


@pytest.mark.parametrize("stop", [1, 2, 4, 10])
def test_killed_it_embeds_only_what_is_missing(tiny, tiny_run, whole, written, tmp_path, monkeypatch, stop):
    monkeypatch.setattr(stores, "SECONDS_BETWEEN_SYNCS", 0)
    out, real = tmp_path / "stores", StoreWriter.write

    def killed(self, rows, vectors):
        real(self, rows, vectors)
        if len(written) == stop:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "write", killed)
        with pytest.raises(Stopped):
            done(*predict(tiny, tiny_run, out))
    assert not list(out.glob("*/manifest.json"))
    before = sum(written)
    written.clear()
    done(*predict(tiny, tiny_run, out))
    assert before + sum(written) == sum(len(Store(whole / side)) for side in ("queries", "candidates"))
    assert same(out, whole)


def test_killed_before_the_stores_have_their_names_it_only_names_them(
    tiny, tiny_run, whole, written, tmp_path, monkeypatch
):
    out = tmp_path / "stores"
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", lambda self: self.flush())
        done(*predict(tiny, tiny_run, out))
    assert not list(out.glob("*/manifest.json"))
    written.clear()
    done(*predict(tiny, tiny_run, out))
    assert not written and same(out, whole)


def test_two_processes_go_on_together(tiny, tiny_run, whole, tmp_path):
    """One store is there, the other is not."""
    out = shutil.copytree(whole, tmp_path / "stores")
    shutil.rmtree(out / "candidates")
    two = {"trainer__devices": 2, "trainer__strategy": "ddp"}
    command = [sys.executable, "-m", "lit_mmembed", *predict(tiny, tiny_run, out, **two)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second time nothing is left to do
        subprocess.run(command, check=True, cwd=ROOT, env=environment, timeout=300)
        for side in ("queries", "candidates"):
            ours, theirs = Store(out / side), Store(whole / side)
            np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)


@pytest.mark.parametrize("changed", [{"model__weights": None, "seed_everything": 5}, {"data__prompts": "none"}])
def test_a_store_of_another_model_or_policy_is_refused(tiny, tiny_run, whole, tmp_path, changed):
    out = shutil.copytree(whole, tmp_path / "stores")
    settings = {name: value for name, value in changed.items() if value is not None}
    command = predict(tiny, tiny_run, out, **settings)
    if "model__weights" in changed:
        command = [part for part in command if not str(part).startswith("--model.weights")]
    ran = mmembed(*command)
    assert ran.status == 2 and "queries: exists already" in ran.err
    assert same(out, whole)

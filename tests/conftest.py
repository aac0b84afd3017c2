"""What many tests start from, made once: a tiny benchmark, its shards and tokenizer, and a trained and mined run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import ROOT, Tiny, done, write_encoder, write_source

settings.register_profile("untimed", deadline=None)  # machines are shared: how long an example takes says nothing
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Shards and tokenizer of a benchmark of 40 training queries and 72 documents, by the command line."""
    folder = tmp_path_factory.mktemp("tiny")
    source, data, tokenizer = write_source(folder / "source"), folder / "data", folder / "tokenizer.json"
    done("shard", "--source", "mbeir", "--root", source, "--out", data)
    done("tokenizer", "--data", data, "--out", tokenizer, "--vocab-size", 400)
    return Tiny(source, data, write_encoder(folder / "clip.json"), tokenizer)


@pytest.fixture(scope="session")
def tiny_run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a fit that ended by mining (depth 20, k' 15), its stores and ranking kept."""
    folder = tmp_path_factory.mktemp("tiny_run")
    mining = {"folder": folder, "depth": 20, "k_prime": 15, "keep_stores": "true"}
    flags = [f"--trainer.callbacks.init_args.{name}={value}" for name, value in mining.items()]
    done(*tiny.fit(folder, "--trainer.callbacks+=lit_mmembed.training.callbacks.mining.MineNegatives", *flags))
    return folder


@pytest.fixture
def from_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in the repository's root, where the paths of experiments/ begin."""
    monkeypatch.chdir(ROOT)

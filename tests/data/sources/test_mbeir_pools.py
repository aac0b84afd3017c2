"""M-BEIR's validation queries over its own small pool or over the local pools, with or without the other splits."""

from __future__ import annotations

import json
import shutil

import pytest

from lit_mmembed.cli.execution import lightning_flags
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sources.mbeir import MBeirSource
from lit_mmembed.errors import InputError
from tests.data.sources.mbeir_folder import build, candidate, query, write_lines
from tests.tiny import done

POOL = "cand_pool/global/mbeir_union_val_cand_pool.jsonl"


@pytest.fixture
def root(tmp_path):
    """CIRR with one validation query, whose document alone is in the validation pool; its local pool has two."""
    root = build(tmp_path / "mbeir")
    write_lines(root / POOL, [candidate("8:1", image=21)])
    write_lines(root / "query/val/mbeir_cirr_task7_val.jsonl", [query("8:9", 7, ["8:1"], text="More.", image=30)])
    return root


def documents(source, split="val"):
    return {sample.id for part, sample in source.items() if part == f"candidates/{split}"}


def test_validation_queries_have_the_documents_that_they_name_or_all_local_pools(root):
    assert documents(MBeirSource(root)) == {"8:1"}
    whole = MBeirSource(root, val_pool="local")
    assert documents(whole) == {"8:1", "8:2"}
    assert set(whole.pools()["val"]["cirr_task7"]) == {"8:1", "8:2"}
    assert documents(whole, "test") == documents(MBeirSource(root), "test"), "of validation alone"


def test_without_local_pools_there_is_no_pool_of_them(root):
    shutil.rmtree(root / "cand_pool/local")
    with pytest.raises(InputError, match="has no local pools"):
        documents(MBeirSource(root, val_pool="local"))


def test_only_the_splits_that_are_named_are_read(root):
    assert {part for part, _ in MBeirSource(root, splits=["val"]).items()} == {"queries/val", "candidates/val"}
    (root / "query/val/mbeir_cirr_task7_val.jsonl").unlink()
    with pytest.raises(InputError, match="has no queries of val"):
        MBeirSource(root, splits=["val"])


def test_validation_alone_is_sharded_embedded_and_evaluated(tiny, tiny_run, tmp_path, from_root):
    """What the recipes of the paper's development queries do."""
    data = tmp_path / "data"
    done("shard", "--source", "mbeir", "--root", tiny.source, "--splits", "val", "--out", data)
    assert DataDirectory(data).splits == ("val",)
    flags = {
        "data.path": str(data),
        "data.predict": "val",
        "model.weights": str(tiny_run / "model"),
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
    }
    flags |= {
        f"model.encoder.init_args.backbone.init_args.{key}": str(path)
        for key, path in (("config", tiny.encoder), ("tokenizer", tiny.tokenizer))
    }
    files = ["encoders/clip_sf_tiny", "emoji_beir/train", "predict"]
    config = [f"experiments/{file}.yaml" for file in files]
    done(*lightning_flags("predict", flags, config=config, folder=tmp_path / "stores", seed=0))
    done("evaluate", "--stores", tmp_path / "stores", "--data", data, "--split", "val", "--out", tmp_path / "out")
    scores = [json.loads(line) for line in (tmp_path / "out/scores.jsonl").open()]
    assert {score["pool"] for score in scores} == {"global", "local"}

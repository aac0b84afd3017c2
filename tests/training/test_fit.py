"""`mmembed fit`: the same again from the same seed, after an interruption too, and what it leaves in its folder."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.encoders.pretrained import load_encoder, weights_hash
from lit_mmembed.retrieval.store import Store
from lit_mmembed.types import Side, stable_id
from tests.tiny import SMALL_CLIP, Tiny, done, files_below, json_lines, rows
from tests.training.callbacks import Stopped

ALLOW = "--allow-imports=tests"
STEPS, BATCHES = 12, 5
"""Steps of a run, and batches of an epoch (40 queries, 8 a batch): two epochs and two fifths."""
VALIDATE = {"trainer__val_check_interval": 4, "data__validation_queries": 2}


def callback(name: str, **arguments: object) -> list[str]:
    """The flags that add a callback to a fit."""
    given = [f"--trainer.callbacks.init_args.{key}={value}" for key, value in arguments.items()]
    return [f"--trainer.callbacks+={name}", *given]


def fit(tiny: Tiny, folder: Path, *flags: str, **settings: object) -> Path:
    done(*tiny.fit(folder, *flags, ALLOW, **{"trainer__max_steps": STEPS, **VALIDATE, **settings}))
    return folder


def weights(run: Path) -> str:
    return json.loads((run / "model/encoder.json").read_text())["weights_hash"]


@pytest.fixture(scope="module")
def uninterrupted(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tiny, tmp_path_factory.mktemp("uninterrupted") / "run")


def test_the_same_seed_gives_the_same_weights_and_log_to_the_bit(tiny, uninterrupted, tmp_path):
    again = fit(tiny, tmp_path / "run", data__workers=2)
    for name in ("log.jsonl", "log.csv", "model/weights.safetensors"):
        assert (again / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_another_seed_gives_other_weights(tiny, uninterrupted, tmp_path):
    other = fit(tiny, tmp_path / "run", seed_everything=1)
    assert weights(other) != weights(uninterrupted)
    assert json_lines(other / "log.jsonl")[0]["train/loss"] != json_lines(uninterrupted / "log.jsonl")[0]["train/loss"]


@pytest.mark.parametrize(
    ("stop", "every", "workers"),
    [
        pytest.param(7, 1, 0, id="in mid-epoch"),
        pytest.param(9, 3, 2, id="in mid-epoch, some steps after the resume point, with workers"),
        pytest.param(5, 1, 0, id="at an epoch's end"),
        pytest.param(5, 1, 2, id="at an epoch's end, with workers"),
        pytest.param(4, 4, 0, id="before anything was kept"),
    ],
)
def test_a_resumed_run_ends_as_the_uninterrupted_one_to_the_bit(tiny, uninterrupted, tmp_path, stop, every, workers):
    folder, settings = tmp_path / "run", {"data__workers": workers, "resume_every": every}
    with pytest.raises(Stopped):
        fit(tiny, folder, *callback("tests.training.callbacks.StopAt", step=stop), **settings)
    assert not (folder / "model").exists()
    resume = {"ckpt_path": folder / "resume.ckpt"} if (folder / "resume.ckpt").exists() else {}
    assert bool(resume) == (every < 4)
    fit(tiny, folder, **settings, **resume)
    for name in ("log.jsonl", "log.csv", "model/weights.safetensors"):
        assert (folder / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def test_a_finished_run_resumed_does_no_further_step(tiny, uninterrupted, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "run")
    shutil.rmtree(folder / "model")
    fit(tiny, folder, ckpt_path=folder / "resume.ckpt")
    assert weights(folder) == weights(uninterrupted)
    assert (folder / "log.jsonl").read_bytes() == (uninterrupted / "log.jsonl").read_bytes()


def test_dropped_patches_are_drawn_alike_after_a_resume(tiny, tmp_path):
    """open_clip's patch dropout draws from torch's generator, whose state no checkpoint holds."""
    config = tmp_path / "dropping.json"
    config.write_text(json.dumps({**SMALL_CLIP, "vision_cfg": {**SMALL_CLIP["vision_cfg"], "patch_dropout": 0.5}}))
    settings = {"model__encoder__init_args__backbone__init_args__config": config, "resume_every": 1}
    whole = fit(tiny, tmp_path / "whole", **settings)
    with pytest.raises(Stopped):
        fit(tiny, tmp_path / "run", *callback("tests.training.callbacks.StopAt", step=7), **settings)
    fit(tiny, tmp_path / "run", ckpt_path=tmp_path / "run/resume.ckpt", **settings)
    assert weights(tmp_path / "run") == weights(whole)


def test_m_hard_starts_from_the_weights_that_m_rand_started_from(tiny, tiny_run, tmp_path):
    """At a learning rate of zero the exported weights are the initial ones."""
    still = {"model__optimization__lr": 0, "trainer__max_steps": 1}
    rand = fit(tiny, tmp_path / "rand", **still)
    hard = fit(tiny, tmp_path / "hard", data__negatives=tiny_run / "negatives.parquet", **still)
    other = fit(tiny, tmp_path / "other", seed_everything=1, **still)
    assert weights(rand) == weights(hard) != weights(other)
    assert weights(rand) != weights(tiny_run)


def test_a_stage_can_start_from_the_weights_of_an_earlier_one(tiny, uninterrupted, tmp_path):
    still = {"model__optimization__lr": 0, "trainer__max_steps": 1}
    assert weights(fit(tiny, tmp_path / "run", model__weights=uninterrupted / "model", **still)) == weights(
        uninterrupted
    )


def drawn_negatives(tiny: Tiny, batch: dict, mined: Path) -> set[tuple[str, int]]:
    """(query, hash of its negative) for the queries of a batch, which their task and positives tell apart."""
    directory = DataDirectory(tiny.data)
    ids = {
        (sample.task, frozenset(map(stable_id, sample.positives))): sample.id for sample in directory.queries("train")
    }
    asked = [
        ids[directory.tasks[task].name, frozenset(positives) - {-1}]
        for task, positives in zip(batch["task"], batch["known_positives"], strict=True)
    ]
    given = {row["qid"] for row in rows(mined)}
    return set(zip([qid for qid in asked if qid in given], batch["document_ids"][len(asked) :], strict=True))


def test_mined_negatives_enter_the_batch_behind_the_positives(tiny, tiny_run, tmp_path):
    kept = callback("tests.training.callbacks.KeepBatches", path=tmp_path / "batches")
    mined = tiny_run / "negatives.parquet"
    fit(tiny, tmp_path / "run", *kept, data__negatives=mined)
    allowed = {(row["qid"], stable_id(row["did"])) for row in rows(mined)}
    batches = json_lines(tmp_path / "batches.0")
    assert len(batches) == STEPS
    for batch in batches:
        assert batch["positive"] == list(range(8))
        for place, known in enumerate(batch["known_positives"]):
            assert batch["document_ids"][place] in known
        drawn = drawn_negatives(tiny, batch, mined)
        assert drawn and drawn <= allowed


def test_every_epoch_has_every_query_once_in_an_order_and_with_draws_of_its_own(tiny, tmp_path):
    """Lightning tells the epoch only to samplers that it finds; a loader that it does not find repeats the first."""
    fit(tiny, tmp_path / "run", *callback("tests.training.callbacks.KeepBatches", path=tmp_path / "batches"))
    batches = json_lines(tmp_path / "batches.0")
    assert {len(batch["document_ids"]) for batch in batches} == {8}  # the positives, and no negatives
    asked = [[tuple(sorted(known)) for known in batch["known_positives"]] for batch in batches]
    epochs = [[query for batch in asked[first : first + BATCHES] for query in batch] for first in (0, BATCHES)]
    assert len(set(epochs[0])) == 40
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]
    drawn = [
        sorted(did for batch in batches[first : first + BATCHES] for did in batch["document_ids"]) for first in (0, 5)
    ]
    assert drawn[0] != drawn[1]


@pytest.fixture(scope="module")
def mined_in_between(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that mines after every epoch, with what its batches held in `batches.0`."""
    folder = tmp_path_factory.mktemp("mined") / "run"
    return fit(tiny, folder, *mining(folder), *kept_beside(folder))


def mining(folder: Path) -> list[str]:
    name = "lit_mmembed.training.callbacks.mining.MineNegatives"
    return callback(name, folder=folder, depth=20, k_prime=15, every_n_epochs=1)


def kept_beside(folder: Path) -> list[str]:
    return callback("tests.training.callbacks.KeepBatches", path=folder / "batches")


def test_mining_between_epochs_switches_what_training_draws(tiny, mined_in_between):
    files = {epoch: mined_in_between / f"epoch{epoch}/negatives.parquet" for epoch in (1, 2)}
    pairs = {epoch: {(row["qid"], stable_id(row["did"])) for row in rows(file)} for epoch, file in files.items()}
    assert pairs[1] != pairs[2]
    drawn: dict[int, set] = {1: set(), 2: set()}
    for batch in json_lines(mined_in_between / "batches.0"):
        epoch = batch["epoch"]
        if epoch == 0:
            assert len(batch["document_ids"]) == 8
        else:
            drawn[epoch] |= drawn_negatives(tiny, batch, files[epoch])
    assert drawn[1] and drawn[1] <= pairs[1]
    assert drawn[2] and drawn[2] <= pairs[2]
    assert not drawn[2] <= pairs[1]
    assert {"negatives.parquet", "statistics.json"} <= set(files_below(mined_in_between))


@pytest.mark.parametrize("stop", [7, 10])
def test_a_resumed_run_goes_on_with_the_negatives_it_had_mined(tiny, mined_in_between, tmp_path, stop):
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        stopping = callback("tests.training.callbacks.StopAt", step=stop)
        fit(tiny, folder, *mining(folder), *stopping, resume_every=1, data__workers=2)
    fit(tiny, folder, *mining(folder), resume_every=1, ckpt_path=folder / "resume.ckpt")
    for name in ("log.jsonl", "model/weights.safetensors"):
        assert (folder / name).read_bytes() == (mined_in_between / name).read_bytes(), name
    for name in ("epoch1", "epoch2", "."):
        assert rows(folder / name / "negatives.parquet") == rows(mined_in_between / name / "negatives.parquet"), name


def test_the_exported_model_loads_and_embeds_as_the_one_that_was_trained(tiny, tiny_run):
    encoder = load_encoder(tiny_run / "model")
    assert weights_hash(encoder) == weights(tiny_run)
    data = RetrievalData(tiny.data)
    for side, store in ((Side.QUERY, "queries"), (Side.CANDIDATE, "candidates")):
        while_training = Store(tiny_run / "mining" / store)
        assert while_training.manifest["weights_hash"] == weights(tiny_run)
        chosen = data.rows_to_encode(side, "train")
        with torch.inference_mode():
            vectors = encoder(encoder.preprocess([chosen[row][1] for row in range(len(chosen))])).numpy()
        np.testing.assert_allclose(while_training.vectors, vectors.astype(np.float16), atol=1e-3)


def test_the_exported_model_needs_no_file_from_outside_its_folder(tiny_run, tmp_path):
    moved = shutil.copytree(tiny_run / "model", tmp_path / "elsewhere")
    assert weights_hash(load_encoder(moved)) == weights(tiny_run)
    assert str(tiny_run.parent) not in (moved / "encoder.json").read_text()


def test_the_log_has_every_step_with_loss_rate_and_gradient_and_every_validation(uninterrupted, tiny):
    logged = json_lines(uninterrupted / "log.jsonl")
    trained = [row for row in logged if "train/loss" in row]
    assert [row["step"] for row in trained] == list(range(STEPS))
    assert [row["epoch"] for row in trained] == [step // BATCHES for step in range(STEPS)]
    for step, row in enumerate(trained):
        assert row["train/lr"] == pytest.approx(1e-3 * (step + 1) / 20)  # the warm-up of 20 steps
        assert row["train/loss"] > 0 and row["train/grad_norm"] > 0
        assert 0.01 <= row["train/temperature"] <= 0.08
    assert trained[0]["train/temperature"] == pytest.approx(0.07)
    validated = [row for row in logged if "val/hit@5/mean" in row]
    assert [row["step"] for row in validated] == [3, 7, 11]
    names = [task.name for task in DataDirectory(tiny.data).tasks]
    asked = [name for name in names if f"val/hit@5/{name}" in validated[0]]
    assert len(asked) == 4
    for row in validated:
        for metric in ("hit@5", "modality_accuracy@1"):
            assert row[f"val/{metric}/mean"] == pytest.approx(np.mean([row[f"val/{metric}/{name}"] for name in asked]))


def test_the_cosine_falls_from_the_warm_up_to_the_end_of_the_run(tiny, tmp_path):
    settings = {"model__optimization__warmup_steps": 3, "model__optimization__final_lr": 0.1}
    run = fit(tiny, tmp_path / "run", trainer__max_steps=8, **settings)
    rates = [row["train/lr"] for row in json_lines(run / "log.jsonl") if "train/lr" in row]
    expected = [1e-3 * (step + 1) / 3 for step in range(3)]
    expected += [1e-3 * (0.1 + 0.9 * (1 + math.cos(math.pi * step / 5)) / 2) for step in range(5)]
    assert rates == pytest.approx(expected)


def test_the_csv_holds_what_the_json_lines_hold(uninterrupted):
    logged = json_lines(uninterrupted / "log.jsonl")
    with (uninterrupted / "log.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [{name: float(cell) for name, cell in row.items() if cell} for row in table] == logged


def test_a_loss_that_is_not_finite_is_logged_as_null(tmp_path):
    from lit_mmembed.training.log import JsonLinesLogger

    logger = JsonLinesLogger(tmp_path)
    logger.log_metrics({"train/loss": math.nan, "epoch": 0}, step=3)
    assert json_lines(tmp_path / "log.jsonl") == [{"step": 3, "epoch": 0, "train/loss": None}]


def test_a_run_holds_its_resolved_configuration_which_makes_it_again(tiny, uninterrupted, tmp_path):
    settings = ["--seed_everything=0", f"--folder={tmp_path / 'run'}"]
    done("fit", "-c", uninterrupted / "config.yaml", *settings, ALLOW)
    assert weights(tmp_path / "run") == weights(uninterrupted)


def test_a_run_leaves_nothing_else_in_its_folder(uninterrupted):
    expected = {"config.yaml", "log.csv", "log.jsonl", "throughput.jsonl", "resume.ckpt"}
    found = set(files_below(uninterrupted))
    assert {name for name in found if not name.startswith("model/")} == expected
    assert {"model/encoder.json", "model/weights.safetensors", "model/tokenizer.json"} <= found


def test_wandb_offline_lies_inside_the_run_folder_with_a_table_of_pictures(tiny, tmp_path, monkeypatch, from_root):
    """Two fits of one process, as a recipe runs them: each has a W&B run of its own."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("first", "second"):
        folder = tmp_path / name
        fit(tiny, folder, "-c", "experiments/mine.yaml", "-c", "experiments/wandb.yaml", trainer__max_steps=4)
        [run] = (folder / "wandb").glob("offline-run-*")
        assert list(run.glob("run-*.wandb"))
        assert list((run / "files/media/table").glob("retrieved*.table.json"))
        staged = [path.read_bytes() for path in (folder / "artifacts/staging").iterdir()]
        table = next(json.loads(file) for file in staged if b"rank 1" in file and b"image-file" in file)
        assert table["columns"][:4] == ["task", "query", "query image", "rank 1"]
        assert len(table["data"]) == 2 * 4  # two queries of each task
        digests = {hashlib.sha256(file).hexdigest() for file in staged if file.startswith(b"\x89PNG")}
        for row in table["data"]:
            assert (row[2] is None) == (row[0] in ("mscoco_task0", "webqa_task1"))
            cells = [cell for cell in row[2:] if cell is not None]
            assert {cell["sha256"] for cell in cells} <= digests
            assert {cell["caption"].partition(":")[0] for cell in cells} <= {
                "query",
                "right",
                "other",
                "wrong modality",
            }
    assert not (tmp_path / "elsewhere").exists()

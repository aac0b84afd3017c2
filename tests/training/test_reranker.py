"""`mmembed fit-reranker` on the tiny benchmark."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.generation import Sources
from lit_mmembed.data.negatives import MinedNegatives
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.reranking.lists import QuestionLists
from lit_mmembed.reranking.llava import LlavaReranker
from lit_mmembed.training.lean_checkpoint import frozen_weights
from lit_mmembed.training.reranker import RerankerModule
from tests.encoders.initial_folders import checkpoint
from tests.encoders.small_mllm import llava_folder
from tests.reranking.world import every_task
from tests.tiny import ROOT, Tiny, done, json_lines, mmembed, rows
from tests.training.callbacks import Stopped


def fit_command(tiny: Tiny, llava: Path, folder: Path, *flags: str, steps: int = 6) -> list[object]:
    settings = {
        "data.path": tiny.data,
        "data.batch_size": 4,
        "data.negatives_per_query": 2,
        "data.validation_queries": 2,
        "model.checkpoint": llava,
        "trainer.max_steps": steps,
        "trainer.val_check_interval": 3,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
        "folder": folder,
    }
    given = [f"--{name}={value}" for name, value in settings.items()]
    return ["fit-reranker", "-c", ROOT / "experiments/emoji_beir/reranker.yaml", *given, *flags]


def fit(tiny: Tiny, llava: Path, folder: Path, *flags: str, steps: int = 6) -> Path:
    done(*fit_command(tiny, llava, folder, *flags, steps=steps))
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> Path:
    return checkpoint("llava_next", tmp_path_factory.mktemp("llava"), seed=2)


@pytest.fixture(scope="module")
def run(tiny: Tiny, tiny_run: Path, llava: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reranker") / "run"
    return fit(tiny, llava, folder, f"--data.negatives={tiny_run / 'negatives.parquet'}")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_the_adapters_are_merged_into_a_checkpoint_that_reranks(run, llava):
    from transformers import LlavaNextForConditionalGeneration

    _, found = LlavaNextForConditionalGeneration.from_pretrained(run / "model", output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = weights(llava), weights(run / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all("_proj." in name or "multi_modal_projector" in name for name in changed)
    assert not any("vision_tower" in name for name in changed)
    assert any("language_model" in name for name in changed) and any("projector" in name for name in changed)
    assert LlavaReranker(run / "model").hash() != LlavaReranker(llava).hash()


def test_the_log_has_the_loss_and_the_share_of_lists_whose_answer_is_first(run):
    lines = json_lines(run / "log.jsonl")
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(6))
    found = [line for line in lines if "val/first" in line]
    assert [line["step"] for line in found] == [2, 5]
    assert all(0 <= line["val/first"] <= 1 for line in found)
    assert found[0]["val/first_by_chance"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("stop", [2, 4])
def test_a_resumed_run_ends_as_the_uninterrupted_one_to_the_bit(tiny, tiny_run, run, llava, tmp_path, stop):
    negatives = f"--data.negatives={tiny_run / 'negatives.parquet'}"
    callback = ["--trainer.callbacks+=tests.training.callbacks.StopAt", f"--trainer.callbacks.init_args.step={stop}"]
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        fit(tiny, llava, folder, negatives, *callback, "--allow-imports=tests", "--resume_every=1")
    fit(tiny, llava, folder, negatives, f"--ckpt_path={folder / 'resume.ckpt'}")
    ours, theirs = weights(folder / "model"), weights(run / "model")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_resume_point_with_all_weights_is_taken_too(tiny, tiny_run, run, llava, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    kept = torch.load(folder / "resume.ckpt", weights_only=True)
    module = RerankerModule(llava, lora=Lora(r=8, alpha=64), projector="trained")
    missing = {name: w for name, w in module.state_dict().items() if name not in kept["state_dict"]}
    assert missing.keys() == kept.pop("frozen_weights").keys() == frozen_weights(module).keys()
    torch.save({**kept, "state_dict": {**kept["state_dict"], **missing}}, folder / "resume.ckpt")
    shutil.rmtree(folder / "model")
    negatives = f"--data.negatives={tiny_run / 'negatives.parquet'}"
    fit(tiny, llava, folder, negatives, f"--ckpt_path={folder / 'resume.ckpt'}")
    ours, theirs = weights(folder / "model"), weights(run / "model")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"checkpoint": "other"}, "has other values"),
        ({"projector": "frozen"}, "is frozen now"),
        ({"lora": "null"}, "is trained now"),
    ],
)
def test_a_run_does_not_go_on_beside_other_frozen_weights(
    tiny, tiny_run, run, llava, tmp_path, tmp_path_factory, flags, problem
):
    folder = shutil.copytree(run, tmp_path / "run")
    before = (folder / "resume.ckpt").read_bytes()
    given = {"checkpoint": llava, **flags}
    if flags.get("checkpoint"):
        given["checkpoint"] = checkpoint("llava_next", tmp_path_factory.mktemp("other"), seed=3)
    command = fit_command(tiny, llava, folder, f"--data.negatives={tiny_run / 'negatives.parquet'}", steps=9)
    ran = mmembed(*command, f"--ckpt_path={folder / 'resume.ckpt'}", *(f"--model.{k}={v}" for k, v in given.items()))
    assert ran.status == 2 and ran.err.splitlines()[-1].startswith(f"mmembed: error: {folder / 'resume.ckpt'}: the wei")
    assert f"{problem}, not as when this run began (fix: " in ran.err
    assert (folder / "resume.ckpt").read_bytes() == before


@pytest.mark.parametrize("objective", ["listwise", "pointwise"])
def test_it_learns_which_document_answers(objective):
    module = RerankerModule(llava_folder(), objective=objective, lora=Lora(r=8, alpha=64), projector="trained")
    module.log = lambda *arguments, **options: None  # type: ignore[method-assign]
    lists = [
        replace(questions, prompts=questions.prompts[:2], relevant=(True, False)) for questions in every_task()[:4]
    ]
    batch = [module.reranker.prepare(questions) for questions in lists]
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=5e-3)
    losses = []
    for _ in range(40):
        loss = module.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_both_objectives_are_what_they_say(llava):
    differences = torch.tensor([0.5, -1.0, 2.0])
    listwise, pointwise = (
        RerankerModule(llava, objective=name)._loss(differences) for name in ("listwise", "pointwise")
    )
    assert listwise.item() == pytest.approx(-torch.log_softmax(differences, 0)[0].item())
    truth = -torch.log(torch.sigmoid(torch.tensor([0.5, 1.0, -2.0])))
    assert pointwise.item() == pytest.approx(((truth[0] + truth[1:].mean()) / 2).item())


def test_lists_hold_a_positive_and_mined_negatives_and_no_other_positive(tiny, tiny_run):
    directory = DataDirectory(tiny.data)
    path = tiny_run / "negatives.parquet"
    sources, pools = Sources(directory, "train"), directory.pools("train")
    lists = QuestionLists(sources, pools, MinedNegatives(path), count=2, mined=2, seed=1)
    mined: dict[str, set[str]] = {}
    for row in rows(path):
        mined.setdefault(row["qid"], set()).add(row["did"])
    for row in range(len(lists)):
        query = sources.queries[row]
        drawn = lists._drawn(query, query.task, np.random.default_rng(row))
        assert len(drawn) == 2 and not set(drawn) & set(query.positives)
        own = mined.get(query.id, set())
        assert len(set(drawn) & own) >= min(len(own), 1)
        assert lists[0, row, row] == lists[0, row, row]


def test_some_negatives_are_mined_and_the_others_of_the_local_pool(tiny, tiny_run):
    directory = DataDirectory(tiny.data)
    path = tiny_run / "negatives.parquet"
    sources, pools = Sources(directory, "train"), directory.pools("train")
    mined: dict[str, set[str]] = {}
    for row in rows(path):
        mined.setdefault(row["qid"], set()).add(row["did"])
    one, none, without = (
        QuestionLists(sources, pools, negatives, count=3, mined=count, seed=1)
        for negatives, count in ((MinedNegatives(path), 1), (MinedNegatives(path), 0), (None, 3))
    )
    firsts = 0
    for row in range(len(one)):
        query = sources.queries[row]
        local = {sources.candidates.key(int(place)) for place in pools[query.task]}
        drawn = one._drawn(query, query.task, np.random.default_rng(row))
        if own := mined.get(query.id):
            assert drawn[0] in own and set(drawn[1:]) <= local
            firsts += drawn[0] not in local or len(own) > 1
        assert none[0, row, row] == without[0, row, row]
    assert firsts > 5


def test_more_mined_negatives_than_negatives_are_refused(tiny, llava, tmp_path):
    ran = mmembed(
        "fit-reranker",
        f"--data.path={tiny.data}",
        f"--model.checkpoint={llava}",
        f"--folder={tmp_path / 'r'}",
        "--data.negatives_per_query=2",
        "--data.mined_per_query=3",
        "--trainer.max_steps=1",
    )
    assert ran.status == 2 and "3 mined negatives of 2 per query" in ran.err


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-true", "bfloat16"), ("64-true", "float32")])
def test_a_precision_of_all_weights_is_refused_in_one_line(tiny, llava, tmp_path, precision, dtype):
    ran = mmembed(*fit_command(tiny, llava, tmp_path / "r", f"--trainer.precision={precision}", steps=1))
    told = ran.err.splitlines()[-1]
    assert ran.status == 2 and f"error: no reranker is trained in trainer.precision={precision} (" in told
    assert f"fix: set model.dtype={dtype}: " in told
    done(*fit_command(tiny, llava, tmp_path / "r", f"--model.dtype={dtype}", "--trainer.precision=bf16-mixed", steps=1))

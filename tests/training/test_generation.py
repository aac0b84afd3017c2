"""`mmembed pretrain` on the tiny benchmark."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lit_mmembed.data.generation import KINDS
from lit_mmembed.encoders.generation import Generator
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.training.generation import GenerationModule
from tests.encoders.initial_folders import checkpoint
from tests.tiny import ROOT, Tiny, done, json_lines, mmembed
from tests.training.callbacks import Stopped


def pretrain(tiny: Tiny, llava: Path, folder: Path, *flags: str, steps: int = 8) -> Path:
    settings = {
        "data.path": tiny.data,
        "data.batch_size": 8,
        "data.validation_queries": 3,
        "data.shares.cloze": 2,
        "model.checkpoint": llava,
        "trainer.max_steps": steps,
        "trainer.val_check_interval": 4,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
        "folder": folder,
    }
    given = [f"--{name}={value}" for name, value in settings.items()]
    done("pretrain", "-c", ROOT / "experiments/emoji_beir/pretrain.yaml", *given, *flags)
    return folder


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> Path:
    return checkpoint("llava_next", tmp_path_factory.mktemp("llava"), seed=2)


@pytest.fixture(scope="module")
def run(tiny: Tiny, llava: Path, tmp_path_factory) -> Path:
    return pretrain(tiny, llava, tmp_path_factory.mktemp("pretrain") / "run")


def weights(run: Path) -> str:
    return weights_hash(Generator(run / "model"))


def test_the_folder_loads_in_transformers_with_tokenizer_and_processor(run, llava):
    from transformers import AutoImageProcessor, AutoTokenizer, LlavaNextForConditionalGeneration

    _, found = LlavaNextForConditionalGeneration.from_pretrained(run / "model", output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    text = "A red fox.\nTrue or False"
    one, other = (AutoTokenizer.from_pretrained(folder)(text)["input_ids"] for folder in (run / "model", llava))
    assert one == other
    assert AutoImageProcessor.from_pretrained(run / "model").size == {"shortest_edge": 16}


def test_everything_but_the_vision_tower_is_trained(run, llava):
    before, after = (dict(Generator(folder).named_parameters()) for folder in (llava, run / "model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if "vision_tower" not in name} == changed


def test_the_vision_tower_can_be_trained_too(tiny, llava, tmp_path):
    trained = pretrain(tiny, llava, tmp_path / "run", "--model.vision=trained", steps=2)
    before, after = (dict(Generator(folder).named_parameters()) for folder in (llava, trained / "model"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("vision_tower" in name for name in changed)


def test_the_log_has_a_loss_of_each_kind_and_what_validation_found(run):
    rows = json_lines(run / "log.jsonl")
    steps = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in steps] == list(range(8))
    drawn = {kind for row in steps for kind in KINDS if row[f"train/loss/{kind}"] is not None}
    assert drawn == set(KINDS)
    found = [row for row in rows if "val/judgement/mean" in row]
    assert [row["step"] for row in found] == [3, 7]
    tasks = {key.rpartition("/")[2] for key in found[0] if key.startswith("val/judgement/")} - {"mean"}
    assert tasks == {"mscoco_task0", "mscoco_task3", "cirr_task7", "webqa_task1"}
    for row in found:
        mean = sum(row[f"val/judgement/{task}"] for task in tasks) / len(tasks)
        assert row["val/judgement/mean"] == pytest.approx(mean)
        assert math.log(row["val/caption_perplexity"]) < math.log(600)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny, run, llava, tmp_path):
    again = pretrain(tiny, llava, tmp_path / "again")
    other = pretrain(tiny, llava, tmp_path / "other", "--seed_everything=1")
    assert weights(again) == weights(run)
    assert (again / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()
    assert weights(other) != weights(run)


@pytest.mark.parametrize("stop", [pytest.param(3, id="in mid-epoch"), pytest.param(6, id="in the second epoch")])
def test_a_resumed_run_ends_as_the_uninterrupted_one_to_the_bit(tiny, run, llava, tmp_path, stop):
    folder = tmp_path / "run"
    callback = ["--trainer.callbacks+=tests.training.callbacks.StopAt", f"--trainer.callbacks.init_args.step={stop}"]
    with pytest.raises(Stopped):
        pretrain(tiny, llava, folder, *callback, "--allow-imports=tests", "--resume_every=1")
    assert not (folder / "model").exists()
    pretrain(tiny, llava, folder, f"--ckpt_path={folder / 'resume.ckpt'}")
    assert weights(folder) == weights(run)
    assert (folder / "log.jsonl").read_bytes() == (run / "log.jsonl").read_bytes()


def test_a_short_answer_counts_as_much_as_a_long_one(tiny, llava):
    from lit_mmembed.data.generation import Example
    from lit_mmembed.data.judging import Prompt

    module = GenerationModule(llava).eval()
    module.log = lambda *arguments, **options: None  # type: ignore[method-assign]
    examples = [
        Example("judgement", Prompt("is it? True or False", ()), "True"),
        Example("text", Prompt("", ()), "the capital of France is Paris"),
    ]
    with torch.no_grad():
        alone = [module.training_step(module.preprocess([example]), 0) for example in examples]
        together = module.training_step(module.preprocess(examples), 0)
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=1e-5, rtol=1e-5)


def test_every_process_adds_up_the_same_whatever_examples_it_has_had(llava):
    tasks = [SimpleNamespace(name=name) for name in ("a_task0", "b_task3")]
    parts = [{"caption": [3.0, 2.0]}, {"b_task3": [1.0, 4.0], "caption": [1.0, 2.0]}]
    module, logged, reduced = GenerationModule(llava), {}, []
    module.log = lambda name, value, **options: logged.update({name: float(value)})  # type: ignore[method-assign]
    module.log_dict = lambda values, **options: logged.update({n: float(v) for n, v in values.items()})  # type: ignore[method-assign]
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: reduced.append(value) or torch.stack(reduced).sum(0))
    datamodule = SimpleNamespace(directory=SimpleNamespace(tasks=tasks))
    for part in parts:  # process after process: what the last is told is the sum of all
        logged.clear()
        module._trainer = SimpleNamespace(strategy=strategy, datamodule=datamodule)  # type: ignore[assignment]
        module._sums = {name: torch.tensor(both) for name, both in part.items()}
        module.on_validation_epoch_end()
    assert [value.shape for value in reduced] == [(3, 2), (3, 2)]
    assert logged == {
        "val/caption_perplexity": pytest.approx(math.e),
        "val/judgement/b_task3": 0.25,
        "val/judgement/mean": 0.25,
    }


def test_a_run_is_not_started_over_by_accident(tiny, run, llava):
    ran = mmembed(
        *("pretrain", "-c", ROOT / "experiments/emoji_beir/pretrain.yaml", f"--model.checkpoint={llava}"),
        *(f"--data.path={tiny.data}", f"--folder={run}"),
    )
    assert ran.status == 2 and "already holds a run" in ran.err

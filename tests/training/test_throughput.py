"""Throughput of a fit: what is counted, where it is written, and that no clock gets into `log.jsonl`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.encoders.pretrained import load_encoder
from lit_mmembed.training.callbacks.throughput import _cut_back, side_counts
from lit_mmembed.training.live_flops import StepFlops, computes_in
from tests.tiny import Tiny, done, json_lines


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("throughput") / "run"
    done(*tiny.fit(folder, trainer__max_steps=7, trainer__log_every_n_steps=3))
    return folder


def test_there_is_a_line_every_few_steps_and_one_for_the_rest(run):
    assert [row["step"] for row in json_lines(run / "throughput.jsonl")] == [3, 6, 7]


def test_speeds_are_counts_over_time(run):
    for row, steps in zip(json_lines(run / "throughput.jsonl"), (3, 3, 1), strict=True):
        assert row["train/queries_per_second"] == pytest.approx(8 * steps / row["seconds"])
        assert row["train/tokens_per_second"] == pytest.approx(row["train/tokens"] * steps / row["seconds"])
        assert 0 < row["train/image_tokens"] < row["train/tokens"]
        assert "train/mfu" not in row and "train/peak_memory_gib" not in row  # a CPU


def test_no_clock_gets_into_the_log(run):
    assert not any("per_second" in name for row in json_lines(run / "log.jsonl") for name in row)


def test_the_tokens_of_a_batch_are_those_of_its_texts_and_patches(tiny, tiny_run):
    encoder = load_encoder(tiny_run / "model")
    data = RetrievalData(tiny.data, batch_size=8)
    data.connect(encoder.preprocess)
    batch = next(iter(data.train_dataloader()))
    for features in (batch.query, batch.document):
        groups = [features[name] for name in features if name.startswith("tokens")]
        images = len(features["pixels"]) * encoder.backbone.patches if "pixels" in features else 0
        texts = sum(group.shape[0] * group.shape[1] for group in groups)
        assert side_counts(encoder, features).tolist() == [len(features["modality"]), texts + images, images]


def test_the_image_tokens_of_an_mllm_are_those_that_its_features_say():
    encoder = SimpleNamespace(costs=lambda features: features["lengths"].long())
    lengths = torch.tensor([9, 30, 25], dtype=torch.int32)
    assert side_counts(encoder, {"lengths": lengths}).tolist() == [3, 64, 0]
    images = {"image_tokens": torch.tensor([20, 17], dtype=torch.int32)}
    assert side_counts(encoder, {"lengths": lengths, **images}).tolist() == [3, 64, 37]


def test_a_resumed_run_forgets_the_lines_of_steps_that_it_does_again(tmp_path):
    file = tmp_path / "throughput.jsonl"
    file.write_text('{"step": 3}\n{"step": 6}\n{"step": 9}\n{"st')
    _cut_back(file, 6)
    assert [row["step"] for row in json_lines(file)] == [3, 6]
    _cut_back(file, 0)
    assert file.read_text() == ""


class Model(nn.Module):
    """A backbone with the parts of an MLLM by name."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_tower = nn.Linear(4, 5, bias=False).requires_grad_(False)
        self.multi_modal_projector = nn.Linear(5, 6)
        self.language_model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 7).requires_grad_(False), nn.LayerNorm(7))


class Module(nn.Module):
    def __init__(self, *, chunk_tokens: int | None, gradient_checkpointing: bool) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.backbone = Model()
        self.encoder.gradient_checkpointing = gradient_checkpointing
        self.chunk_tokens = chunk_tokens


@pytest.mark.parametrize(("chunk", "again"), [(None, False), (None, True), (100, False), (100, True)])
def test_the_flops_of_a_live_module_count_every_pass(chunk, again):
    """Vision 4 x 5 once; projector 5 x 6 each forward pass and twice back; language 6 x 7, once back, once again."""
    forwards = 1 + (chunk is not None)
    flops = StepFlops.of(Module(chunk_tokens=chunk, gradient_checkpointing=again))
    tokens, image_tokens = 50, 20
    expected = 2 * 20 * image_tokens
    expected += 2 * 30 * image_tokens * (forwards + 2)
    expected += 2 * 42 * tokens * (forwards + again + 1)
    assert flops(tokens, image_tokens) == expected


def test_the_towers_of_a_clip_each_see_their_own_tokens(tiny_run):
    module = nn.Module()
    module.encoder = load_encoder(tiny_run / "model").train()
    flops = StepFlops.of(module)
    assert flops(10, 10) == 10 * flops.image_token and flops(10, 0) == 10 * flops.token


def test_a_live_module_counts_what_its_plan_counts(tiny, tiny_run):
    """All matrices of open_clip's towers but the projections, which are of one vector a row."""
    from lit_mmembed.encoders.shapes import open_clip

    module = nn.Module()
    module.encoder = load_encoder(tiny_run / "model").requires_grad_(True)
    flops, (parts, _, _) = StepFlops.of(module), open_clip({"config": tiny.encoder})
    for name, found in (("text tower", flops.token), ("vision tower", flops.image_token)):
        part = parts[name]
        assert found == 6 * (part.blocks.layers * part.blocks.block_matrices + part.matrices)


def test_half_precision_weights_are_multiplied_in_half_precision():
    assert computes_in(nn.Linear(2, 2), "32-true") == "32-true"
    assert computes_in(nn.Linear(2, 2).to(torch.bfloat16), "32-true") == "16-true"

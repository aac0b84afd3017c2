"""Qwen2-VL beside transformers' own: hidden states, positions, images and weights."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.packing import Packing
from lit_mmembed.encoders.qwen2_vl import Qwen2VlBackbone
from lit_mmembed.encoders.shapes import qwen2_vl
from lit_mmembed.errors import InputError
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg
from tests.encoders.small_qwen2_vl import LIMITS, qwen2_vl_folder

ROWS = [
    EncoderRow("a red fox", None, Side.CANDIDATE),
    EncoderRow(None, jpeg(1, (90, 40)), Side.CANDIDATE),
    EncoderRow("two cats on a mat", jpeg(2, (33, 70)), Side.QUERY, "Find what is asked for"),
    EncoderRow("a clock at noon", jpeg(3, (300, 200)), Side.QUERY),
    EncoderRow("the capital of France is Paris", None, Side.QUERY, "Find a text"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return qwen2_vl_folder(tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture(scope="module")
def encoder(folder) -> MllmEncoder:
    return MllmEncoder(Qwen2VlBackbone(folder, **LIMITS)).eval()


@pytest.fixture(scope="module")
def theirs(folder):
    from transformers import Qwen2VLModel

    return Qwen2VLModel.from_pretrained(folder, attn_implementation="eager").eval()


def their_inputs(encoder: MllmEncoder, folder: Path, row: EncoderRow) -> dict[str, torch.Tensor]:
    """A row's ids, and its image as transformers' whole processor makes it."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    ids = encoder.preprocess([row])["tokens"].long().unsqueeze(0)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if row.image is not None:
        size = {"shortest_edge": LIMITS["min_pixels"], "longest_edge": LIMITS["max_pixels"]}
        processor = Qwen2VLImageProcessorPil.from_pretrained(folder, size=size)
        image = Image.open(io.BytesIO(row.image)).convert("RGB")
        inputs |= dict(processor([image], return_tensors="pt"))
        inputs["mm_token_type_ids"] = (ids == encoder.backbone.images.token_id).int()
    return inputs


def hidden_states(encoder: MllmEncoder, rows: list[EncoderRow]) -> list[torch.Tensor]:
    """The language model's last hidden states of each row."""
    seen = []
    hook = encoder.backbone.language_model.register_forward_hook(lambda *call: seen.append(call[-1].last_hidden_state))
    features = encoder.preprocess(rows)
    try:
        with torch.no_grad():
            encoder(features)
    finally:
        hook.remove()
    return list(seen[0][0].split(features["lengths"].tolist()))


@torch.no_grad()
def test_hidden_states_are_those_of_transformers_alone_and_in_batches(encoder, theirs, folder):
    expected = [theirs(**their_inputs(encoder, folder, row)).last_hidden_state[0] for row in ROWS]
    for order in ([0, 1, 2, 3, 4], [3, 1, 0], [4, 0], [2], [1], [0]):
        ours = hidden_states(encoder, [ROWS[index] for index in order])
        for index, hidden in zip(order, ours, strict=True):
            torch.testing.assert_close(hidden, expected[index], atol=1e-5, rtol=0)


def test_positions_of_packed_rows_are_those_that_transformers_gives_each_row(encoder, theirs, folder):
    features = encoder.preprocess(ROWS)
    lengths = features["lengths"].long()
    ours = encoder.backbone.positions(features, Packing(lengths, True, int(lengths.max())))
    assert ours.shape == (3, 1, int(lengths.sum()))
    for row, positions in zip(ROWS, ours[:, 0].split(lengths.tolist(), dim=1), strict=True):
        inputs = their_inputs(encoder, folder, row)
        types = inputs.get("mm_token_type_ids", torch.zeros_like(inputs["input_ids"]))
        expected, _ = theirs.get_rope_index(inputs["input_ids"], types, inputs.get("image_grid_thw"))
        assert torch.equal(positions, expected[:, 0])


@torch.no_grad()
def test_the_vision_tower_in_small_groups_of_images_gives_the_same(encoder, monkeypatch):
    features = encoder.preprocess(ROWS)
    whole = encoder.backbone.vision(features)
    monkeypatch.setattr("lit_mmembed.encoders.qwen2_vl.PATCHES_AT_ONCE", 30)
    torch.testing.assert_close(encoder.backbone.vision(features), whole, atol=1e-6, rtol=0)


def test_an_image_has_at_most_as_many_tokens_as_its_pixels_allow(encoder):
    features = encoder.preprocess([EncoderRow(None, jpeg(0, size), Side.CANDIDATE) for size in ((900, 700), (3, 4))])
    assert features["image_tokens"].max() <= 12 == encoder.backbone.images.typical_tokens
    assert features["image_tokens"].min() >= 1
    assert features["pixels"].dtype == torch.uint8 and features["pixels"].shape[1:] == (3, 8, 8)
    assert torch.equal(features["image_parts"], features["image_tokens"] * 4)


def test_an_image_that_is_too_narrow_is_named(encoder):
    with pytest.raises(InputError, match="aspect ratio"):
        encoder.preprocess([EncoderRow(None, jpeg(0, (900, 3)), Side.CANDIDATE)])


def test_a_text_that_spells_the_image_token_is_refused(encoder):
    with pytest.raises(InputError, match=r"the text spells <\|image_pad\|>"):
        encoder.preprocess([EncoderRow("what is <|image_pad|>?", None, Side.QUERY)])


def test_what_is_trained_is_the_merger_and_the_adapters(folder):
    encoder = MllmEncoder(Qwen2VlBackbone(folder), lora=Lora(r=2))
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert all(".visual.merger." in name or ".lora_" in name for name in trained)
    assert {"backbone.visual.merger.ln_q.weight", "backbone.visual.merger.mlp.2.bias"} <= trained


def test_the_names_of_the_released_files_and_of_other_versions_load(encoder, folder, tmp_path):
    for style, body, visual in (("released", "model.", "visual."), ("new", "model.language_model.", "model.visual.")):
        path = renamed(folder, tmp_path / style, {"language_model.": body, "visual.": visual})
        for name, weight in Qwen2VlBackbone(path).state_dict().items():
            assert torch.equal(weight, encoder.backbone.state_dict()[name])


def test_a_weight_that_is_missing_or_left_over_is_named(folder, tmp_path):
    lacking = renamed(folder, tmp_path / "lacking", {"visual.merger.ln_q.bias": ""})
    with pytest.raises(InputError, match=r"lacks visual\.merger\.ln_q\.bias"):
        Qwen2VlBackbone(lacking)
    stray = renamed(folder, tmp_path / "stray", {"lm_head.": "visual.head."}, lm_head=torch.zeros(2))
    with pytest.raises(InputError, match=r"has not: visual\.head\.weight"):
        Qwen2VlBackbone(stray)


def test_a_head_of_its_own_is_left_out(folder, tmp_path):
    untied = renamed(folder, tmp_path / "untied", {}, lm_head=torch.zeros(5, 5))
    assert "lm_head.weight" not in Qwen2VlBackbone(untied).state_dict()


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("config.json", {"model_type": "llava_next"}, "'llava_next', not qwen2_vl"),
        ("config.json", {"image_token_id": 9}, "config.json says 9"),
        ("preprocessor_config.json", {"patch_size": 14}, "patch_size is 14, the model's is 8"),
    ],
)
def test_files_that_do_not_fit_are_named(folder, tmp_path, file, changes, says):
    path = Path(shutil.copytree(folder, tmp_path / "copy"))
    given = path / file
    if not given.exists():
        (path / "processor_config.json").rename(given)
    given.write_text(json.dumps({**json.loads(given.read_text()), **changes}))
    with pytest.raises(InputError, match=says):
        Qwen2VlBackbone(path)


def test_the_limits_of_an_image_must_be_in_order(folder):
    with pytest.raises(InputError, match="min_pixels 500 is above max_pixels 400"):
        Qwen2VlBackbone(folder, min_pixels=500, max_pixels=400)


def test_a_plan_counts_the_weights_that_the_model_has(encoder, folder):
    backbone = {"class_path": "a.Qwen2VlBackbone", "init_args": {"path": str(folder), **LIMITS}}
    planned = planned_encoder({"class_path": "a.MllmEncoder", "init_args": {"backbone": backbone}})
    visual, merger = encoder.backbone.visual, encoder.backbone.visual.merger
    assert {name: part.parameters for name, part in planned.parts.items()} == {
        "vision tower": weights(visual) - weights(merger),
        "projector": weights(merger),
        "language model": weights(encoder.backbone.language_model),
    }
    assert planned.image_tokens == encoder.backbone.images.typical_tokens and planned.patches == 4 * 12


def test_the_shapes_of_the_released_2b_add_up_to_its_size():
    parts = qwen2_vl("Qwen/Qwen2-VL-2B-Instruct", attention="causal")
    assert sum(part.parameters for part in parts.values()) == 2_208_985_600


def weights(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def renamed(folder: Path, path: Path, prefixes: dict[str, str], lm_head: torch.Tensor | None = None) -> Path:
    """Copy a checkpoint with other names of weights; a prefix that becomes "" is left out."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, path)
    weights = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        weights[one_spelling(name)] = weight
    if lm_head is not None:
        weights["lm_head.weight"] = lm_head
    for prefix, instead in prefixes.items():
        chosen = [name for name in weights if name.startswith(prefix)]
        moved = {f"{instead}{name.removeprefix(prefix)}": weights.pop(name) for name in chosen}
        weights |= moved if instead else {}
    save_file(weights, path / "model.safetensors")
    return path


def one_spelling(name: str) -> str:
    for before, after in (("model.language_model.", "language_model."), ("model.visual.", "visual.")):
        name = name.replace(before, after)
    return name.replace("model.", "language_model.", 1) if name.startswith("model.") else name

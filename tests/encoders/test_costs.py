"""The arithmetic of costs beside real modules: parameters to the number, FLOPs and kept values as torch counts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lit_mmembed.encoders import shapes
from lit_mmembed.encoders.configurations import ARCHITECTURES, architecture
from lit_mmembed.encoders.costs import Rows, activations, adapters, decoder, latent_attention, trained_inputs
from lit_mmembed.encoders.pooling import LatentAttentionPooling
from lit_mmembed.errors import InputError
from tests.tiny import ROOT

TEXT = {
    "model_type": "mistral",
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "vocab_size": 90,
    "sliding_window": None,
}
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 42,
    "patch_size": 14,
    "projection_dim": 24,
}
LORA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def written(folder: Path, **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def mistral(attention: str = "sdpa", **changes: object) -> nn.Module:
    from transformers import MistralConfig, MistralModel

    return MistralModel(MistralConfig(**{**TEXT, **changes}, attn_implementation=attention))


def body(*, causal: bool = True):
    return decoder(
        layers=3, width=48, heads=6, kv_heads=2, head_width=10, intermediate=112, vocabulary=90, biases=0, causal=causal
    )


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        {**TEXT, "model_type": "llama", "attention_bias": True, "mlp_bias": True},
        {k: v for k, v in TEXT.items() if k not in ("head_dim", "num_key_value_heads")} | {"model_type": "llama"},
    ],
    ids=["mistral", "llama with biases", "llama with as many key heads"],
)
def test_a_llava_next_has_as_many_parameters_as_its_shapes_say(tmp_path, text):
    from transformers import LlavaNextConfig, LlavaNextModel

    folder = written(tmp_path, model_type="llava_next", text_config=text, vision_config=VISION, vision_feature_layer=-2)
    model = LlavaNextModel(LlavaNextConfig.from_dict(architecture(folder)))
    parts = shapes.llava(folder, attention="causal")
    assert parts["vision tower"].parameters == size(model.vision_tower)
    assert parts["projector"].parameters == size(model.multi_modal_projector) + model.image_newline.numel()
    assert parts["language model"].parameters == size(model.language_model)
    assert sum(part.parameters for part in parts.values()) == size(model)


def test_a_transformers_clip_has_as_many_parameters_as_its_shapes_say(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    text = {"model_type": "clip_text_model", "hidden_size": 24, "intermediate_size": 50, "num_hidden_layers": 2}
    text |= {"num_attention_heads": 3, "vocab_size": 70, "max_position_embeddings": 20}
    folder = written(tmp_path, model_type="clip", projection_dim=24, text_config=text, vision_config=VISION)
    parts, dimension, inputs = shapes.clip(folder)
    assert sum(part.parameters for part in parts.values()) == size(
        CLIPModel(CLIPConfig.from_dict(architecture(folder)))
    )
    assert dimension == 24 and inputs == shapes.Inputs(size=42, patches=9, context=20)


@pytest.mark.parametrize("config", ["experiments/encoders/tiny_clip.json", "experiments/encoders/plain.json"])
def test_an_open_clip_has_as_many_parameters_as_its_shapes_say(tmp_path, config):
    from lit_mmembed.encoders.open_clip_backbone import _build, _resolve

    content = json.loads((ROOT / "experiments/encoders/tiny_clip.json").read_text())
    if config.endswith("plain.json"):
        del content["stem"]
    file = tmp_path / "clip.json"
    file.write_text(json.dumps(content))
    parts, _, _ = shapes.open_clip({"config": file})
    assert sum(part.parameters for part in parts.values()) == size(_build(_resolve(None, None, file)))


def test_latent_attention_has_as_many_parameters_as_its_shapes_say():
    module = LatentAttentionPooling(24, latents=10, heads=3, head_width=7)
    assert latent_attention(24, latents=10, heads=3, head_width=7).parameters == size(module)


def test_adapters_have_as_many_parameters_as_their_shapes_say():
    from lit_mmembed.encoders.adapters import Lora, add_lora, is_adapter

    for targets in (LORA, ("q_proj", "v_proj")):
        model = mistral()
        add_lora(model, Lora(r=4, targets=targets))
        blocks = body().blocks
        own = sum(parameter.numel() for name, parameter in model.named_parameters() if is_adapter(name))
        assert adapters(blocks, 4, targets).parameters == own


@pytest.mark.parametrize(
    ("parts", "total"),
    [
        (shapes.clip("openai/clip-vit-large-patch14")[0], 427_616_513),
        (shapes.open_clip({"architecture": "ViT-L-14"})[0], 427_616_513),
        ({"body": shapes.nv_embed("nvidia/NV-Embed-v1", attention="causal")["language model"]}, 7_110_660_096),
        (shapes.llava("llava-hf/llava-v1.6-mistral-7b-hf", attention="causal"), 7_435_413_504),
    ],
    ids=["CLIP ViT-L/14", "open_clip's ViT-L-14", "Mistral 7B without its head", "LLaVA-Next 7B without its head"],
)
def test_released_models_have_the_published_totals(parts, total):
    """Mistral 7B has 7,241,732,096 parameters, 32,000 x 4,096 of them its head; CLIP ViT-L/14 has 427,616,513."""
    assert sum(part.parameters for part in parts.values()) == total


def test_every_shipped_architecture_reads_back():
    names = {path.stem.replace("--", "/") for path in ARCHITECTURES.glob("*.json")}
    assert names == {architecture_name for architecture_name in names if architecture(architecture_name)}
    assert "llava-hf/llava-v1.6-34b-hf" in names


def test_an_unknown_checkpoint_is_named_with_what_is_known(tmp_path):
    with pytest.raises(InputError, match=r"llava-hf/other.*not known.*nvidia/NV-Embed-v1"):
        architecture("llava-hf/other")
    folder = written(tmp_path, model_type="qwen2_vl")
    with pytest.raises(InputError, match="qwen2_vl"):
        shapes.llava(folder, attention="causal")


@pytest.mark.parametrize("length", [7, 32])
def test_the_flops_of_a_forward_pass_are_those_that_torch_counts(length):
    """Attention as plain products, which are in full, causal or not."""
    model, rows = mistral("eager"), 3
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(inputs_embeds=torch.randn(rows, length, 48))
    assert body(causal=False).forward([Rows(rows, length)]).total == counter.get_total_flops()


def test_causal_attention_costs_half_of_its_products():
    whole, half = (body(causal=causal).forward([Rows(2, 16)]) for causal in (False, True))
    assert half.attention == whole.attention / 2 and half.linear == whole.linear


def test_a_backward_pass_through_frozen_weights_costs_one_forward_pass():
    model = mistral("eager")
    for trained, passes in ((False, 1), (True, 2)):
        model.requires_grad_(trained)
        inputs = torch.randn(3, 16, 48, requires_grad=True)
        hidden = model(inputs_embeds=inputs).last_hidden_state
        with FlopCounterMode(display=False) as counter:
            hidden.sum().backward()
        forward = body(causal=False).forward([Rows(3, 16)])
        assert counter.get_total_flops() == forward.backward(weight_passes=passes)


def test_the_last_vision_layer_is_not_run(tmp_path):
    folder = written(tmp_path, model_type="llava_next", text_config=TEXT, vision_config=VISION, vision_feature_layer=-2)
    tower = shapes.llava(folder, attention="causal")["vision tower"]
    flops = tower.forward([Rows(1, 10)])
    layer = 2 * tower.blocks.block_matrices * 10
    assert flops.linear == 3 * layer + 2 * tower.matrices * 10


def kept_bytes(model: nn.Module, inputs: torch.Tensor) -> int:
    """Bytes of all that autograd keeps, weights left out, each storage once."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(inputs_embeds=inputs)
    return sum(kept.values())


@pytest.mark.parametrize("with_adapters", [False, True], ids=["frozen", "with fp32 adapters"])
def test_what_a_layer_keeps_for_its_backward_pass_is_what_autograd_keeps(with_adapters):
    from lit_mmembed.encoders.adapters import Lora, add_lora, is_adapter

    sizes = {"hidden_size": 256, "intermediate_size": 896, "num_attention_heads": 8, "head_dim": 32}
    tokens, found = 64, []
    for layers in (1, 3):  # the difference is two layers, without what stands around them
        model = mistral(**sizes, num_hidden_layers=layers).to(torch.bfloat16).requires_grad_(False)
        if with_adapters:
            add_lora(model, Lora(r=1))
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(is_adapter(name))
        found.append(kept_bytes(model, torch.randn(1, tokens, 256, dtype=torch.bfloat16, requires_grad=True)))
    per_token = (found[1] - found[0]) / 2 / tokens
    blocks = decoder(
        layers=3, width=256, heads=8, kv_heads=2, head_width=32, intermediate=896, vocabulary=90, biases=0, causal=True
    ).blocks
    expected = activations(blocks, value_bytes=2) + (trained_inputs(blocks, value_bytes=2) if with_adapters else 0)
    assert per_token == pytest.approx(expected, rel=0.03)

"""Randomly initialised checkpoints in transformers' own formats: what a study from scratch starts from.

A configuration is one JSON file with the blocks that transformers' configurations have; the vocabulary and the special
ids come from the tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.checkpoints import NOT_WEIGHTS
from lit_mmembed.encoders.llm_tokenizer import IMAGE, closed_with_end, load_llm_tokenizer
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder, read_json, write_json

Kind = Literal["clip", "llava_next", "nv_embed"]
LANGUAGE_ANCHOR = "embed_tokens.weight"
VISION_ANCHOR = "embeddings.class_embedding"
LATENT_ANCHOR = "latents"
"""The weight that every language model, CLIP vision tower and latent attention has once: what stands before it is the
prefix of the part."""
HEAD = "lm_head.weight"
SIDES = ("height", "width")


def write_initial(
    kind: Kind,
    *,
    config: str | Path,
    tokenizer: str | Path,
    out: str | Path,
    seed: int = 0,
    vision: str | Path | None = None,
    language: str | Path | None = None,
) -> Path:
    """Write a checkpoint folder with weights drawn from `seed`, or taken from trained models where named.

    Args:
        kind: `clip`: a CLIPModel with its image processor; `llava_next`: a LlavaNextForConditionalGeneration;
            `nv_embed`: the layout of NV-Embed-v1, a Mistral body with latent attention.
        config: The JSON configuration.
        tokenizer: The folder that `train_llm_tokenizer` wrote.
        out: The folder to make; an older one is replaced.
        seed: Seed of every weight.
        vision: A model folder or checkpoint whose CLIP vision tower is taken (llava_next).
        language: A model folder or checkpoint whose language model is taken (llava_next, nv_embed), with its head and
            its latent attention where it has them and they are made.

    Raises:
        InputError: a file is missing, the configuration lacks a block, or a part does not fit it.
    """
    content = read_json(config)
    write = {"clip": _write_clip, "llava_next": _write_llava_next, "nv_embed": _write_nv_embed}[kind]
    loaded = load_llm_tokenizer(tokenizer)
    with torch.random.fork_rng(devices=[]), atomic_folder(out, replace=True) as partial:
        torch.manual_seed(seed)
        try:
            write(partial, content, loaded, _Parts(vision, language))
        except KeyError as missing:
            fix = "experiments/encoders/tiny_*.json are examples"
            raise InputError(f"lacks the block {missing}", file=config, fix=fix) from None
    return Path(out)


class _Parts:
    """What is taken from trained models."""

    def __init__(self, vision: str | Path | None, language: str | Path | None) -> None:
        self.vision = vision
        self.language = language

    def into_vision(self, tower: nn.Module) -> None:
        if self.vision is not None:
            _load(tower, part_of(weights_of(self.vision), VISION_ANCHOR, self.vision), self.vision)

    def into_language(self, body: nn.Module) -> dict[str, Tensor]:
        """Fill the body; return all weights of what it was taken from."""
        if self.language is None:
            return {}
        weights = weights_of(self.language)
        _load(body, part_of(weights, LANGUAGE_ANCHOR, self.language), self.language)
        return weights


def weights_of(folder: str | Path) -> dict[str, Tensor]:
    """Read all safetensors files of a folder."""
    from safetensors.torch import load_file

    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise InputError("holds no *.safetensors", file=folder, fix="name a model folder or a checkpoint folder")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def part_of(weights: Mapping[str, Tensor], anchor: str, folder: str | Path) -> dict[str, Tensor]:
    """Return the weights below the prefix that stands before `anchor`, without the prefix."""
    found = [name for name in weights if name.endswith(anchor)]
    if len(found) != 1:
        raise InputError(f"has {len(found)} weights named *{anchor}", file=folder, fix="name a model with one of them")
    prefix = found[0].removesuffix(anchor)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix) and not name.endswith(HEAD)
    }


def _load(module: nn.Module, weights: Mapping[str, Tensor], folder: str | Path) -> None:
    try:
        module.load_state_dict({name: weights[name] for name in weights if not NOT_WEIGHTS.search(name)})
    except RuntimeError as unfit:
        fix = "use the sizes of the configuration that it was trained with"
        raise InputError(f"does not fit the configuration: {unfit}", file=folder, fix=fix) from None


def _write_clip(folder: Path, content: dict[str, Any], tokenizer: Any, parts: _Parts) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    text = {**content["text_config"], **_vocabulary(tokenizer)}
    model = CLIPModel(CLIPConfig(**{**content, "text_config": text}))
    parts.into_vision(model.vision_model)
    model.save_pretrained(str(folder))
    CLIPImageProcessor(**_image_sizes(content)).save_pretrained(str(folder))
    closed_with_end(tokenizer).save_pretrained(str(folder))


def _write_llava_next(folder: Path, content: dict[str, Any], tokenizer: Any, parts: _Parts) -> None:
    from transformers import (
        CLIPVisionConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessor,
        MistralConfig,
    )

    vision = content["vision_config"]
    size = vision["image_size"]
    config = LlavaNextConfig(
        **{
            **content,
            "text_config": MistralConfig(**content["text_config"], **_vocabulary(tokenizer)),
            "vision_config": CLIPVisionConfig(**vision),
            "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
            "image_grid_pinpoints": [[size, size]],
            "image_seq_length": (size // vision["patch_size"]) ** 2,
        }
    )
    model = LlavaNextForConditionalGeneration(config)
    parts.into_vision(model.model.vision_tower)
    weights = parts.into_language(model.model.language_model)
    for head in (weights[name] for name in weights if name.endswith(HEAD)):
        _load(model.lm_head, {"weight": head}, str(parts.language))
    model.save_pretrained(str(folder))
    processor = LlavaNextImageProcessor(**_image_sizes(content), image_grid_pinpoints=config.image_grid_pinpoints)
    processor.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def _write_nv_embed(folder: Path, content: dict[str, Any], tokenizer: Any, parts: _Parts) -> None:
    from safetensors.torch import save_file
    from transformers import MistralConfig, MistralModel

    from lit_mmembed.encoders.pooling import LatentAttentionPooling

    latent = content["latent_attention_config"]
    text = MistralConfig(**content["text_config"], **_vocabulary(tokenizer))
    body = MistralModel(text)
    taken = parts.into_language(body)
    pooling = LatentAttentionPooling(
        latent["hidden_dim"],
        latents=latent["num_latents_value"],
        heads=latent["num_cross_heads"],
        head_width=latent["cross_dim_head"],
    )
    if any(name.endswith(LATENT_ANCHOR) for name in taken):
        _load(pooling, part_of(taken, LATENT_ANCHOR, str(parts.language)), str(parts.language))
    modules: dict[str, nn.Module] = {"embedding_model": body, "latent_attention_model": pooling}
    weights = {f"{part}.{name}": w for part, module in modules.items() for name, w in module.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    described = {"model_type": "nvembed", "text_config": text.to_dict(), "latent_attention_config": latent}
    write_json(folder / "config.json", described)
    tokenizer.save_pretrained(str(folder))


def _vocabulary(tokenizer: Any) -> dict[str, int]:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {"vocab_size": len(tokenizer), **ids}


def _image_sizes(content: dict[str, Any]) -> dict[str, Any]:
    size = content["vision_config"]["image_size"]
    return {"size": {"shortest_edge": size}, "crop_size": dict.fromkeys(SIDES, size)}

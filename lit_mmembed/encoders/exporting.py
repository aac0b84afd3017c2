"""Trained MLLM encoders in one piece: adapters merged, and written in the layout that the backbone was read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.checkpoints import canonical
from lit_mmembed.encoders.llava_next import LlavaNextBackbone, copy_side_files
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.mllm_backbone import DTYPES, MllmBackbone
from lit_mmembed.encoders.nv_embed import BODY, LATENT, RETRIEVER_FOLDER, NvEmbedBackbone, NvEmbedLlavaBackbone
from lit_mmembed.encoders.pooling import LatentAttentionPooling
from lit_mmembed.encoders.quantization import dequantize_linears
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder, read_json, write_json

WEIGHTS = "model.safetensors"
VISION = "vision_tower."
LANGUAGE = "language_model."


def merge_adapters(encoder: Encoder) -> MllmEncoder:
    """Add the adapters of an encoder to its weights, in place; what was trained in fp32 takes the backbone's dtype.

    Raises:
        InputError: it is no `MllmEncoder`.
    """
    if not isinstance(encoder, MllmEncoder):
        fix = "only models built on a multimodal LLM have adapters; take this folder as it is"
        raise InputError(f"{type(encoder).__name__} has nothing to merge", fix=fix)
    encoder.merge()
    dequantize_linears(encoder.backbone)
    dtype = DTYPES[encoder.backbone.source_args()["dtype"]]
    for parameter in encoder.backbone.parameters():
        parameter.data = parameter.data.to(dtype)
    return encoder


def save_checkpoint(encoder: MllmEncoder, folder: str | Path) -> None:
    """Write a merged encoder as a checkpoint folder: config.json, model.safetensors, tokenizer, image processor.

    A `LlavaNextBackbone` gets the names of `LlavaNextForConditionalGeneration`, without the head that an embedding has
    no use for; a `NvEmbedBackbone` those of NV-Embed-v1; a `NvEmbedLlavaBackbone` those of MM-Embed, with NV-Embed's
    configuration in `retriever/`. Prompts, lengths and masks are not part of such a folder.

    Raises:
        InputError: the layout has no place for the pooling's weights, or there is none for the backbone.
    """
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in _named(encoder).items()}
    with atomic_folder(folder, replace=True) as partial:
        _copy_sources(encoder.backbone, partial)
        dtype = next(encoder.backbone.language_model.parameters()).dtype
        config = {key: value for key, value in read_json(partial / "config.json").items() if key != "torch_dtype"}
        write_json(partial / "config.json", {**config, "dtype": str(dtype).removeprefix("torch.")})
        save_file(weights, partial / WEIGHTS, metadata={"format": "pt"})


def _named(encoder: MllmEncoder) -> dict[str, Tensor]:
    """Return every weight under the name that the checkpoint's layout has for it."""
    backbone, pooling = encoder.backbone, encoder.pooling
    if isinstance(backbone, NvEmbedBackbone):
        body = _below(BODY, backbone.language_model)
        return body | _pooled(pooling)
    if not isinstance(backbone, LlavaNextBackbone):
        fix = "write a whole model folder: leave --checkpoint out"
        raise InputError(f"there is no checkpoint layout for {type(backbone).__name__}", fix=fix)
    names = {canonical(name): tensor for name, tensor in backbone.state_dict().items()}
    names = {_with_level(name, VISION, "vision_model."): tensor for name, tensor in names.items()}
    if isinstance(backbone, NvEmbedLlavaBackbone):
        return names | _pooled(pooling)
    if list(pooling.parameters()):
        fix = "write a whole model folder: leave --checkpoint out"
        raise InputError(f"LLaVA-Next's layout has no place for {type(pooling).__name__}", fix=fix)
    return {_with_level(name, LANGUAGE, "model."): tensor for name, tensor in names.items()}


def _pooled(pooling: nn.Module) -> dict[str, Tensor]:
    if isinstance(pooling, LatentAttentionPooling):
        return _below(LATENT, pooling)
    if list(pooling.parameters()):
        fix = "write a whole model folder: leave --checkpoint out"
        raise InputError(f"NV-Embed's layout has no place for {type(pooling).__name__}", fix=fix)
    return {}


def _below(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items()}


def _with_level(name: str, prefix: str, level: str) -> str:
    return f"{prefix}{level}{name.removeprefix(prefix)}" if name.startswith(prefix) else name


def _copy_sources(backbone: MllmBackbone, folder: Path) -> None:
    source: dict[str, Any] = backbone.source_args()
    if isinstance(backbone, NvEmbedLlavaBackbone):
        copy_side_files(source["llava"], folder)
        copy_side_files(source["nv_embed"], folder / RETRIEVER_FOLDER)
    else:
        copy_side_files(source["path"], folder)

"""Loading UniIR's released CLIP_SF checkpoint (`clip_sf_large.pth`): CLIP_SF as its authors trained it.

The file is {"model", "optimizer", "scheduler", "scaler", "epoch", "config"}; "model" holds the weights of OpenAI's own
CLIP implementation under `clip_model.`, whose names are those of open_clip's `CLIP` too. OpenAI's activation is
QuickGELU, so the encoder must be built on `ViT-L-14-quickgelu` (or with `"quick_gelu": true`): the plain one takes the
weights without complaint and gives wrong vectors.
"""

from __future__ import annotations

import collections
import pickle
import typing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_mmembed.encoders.checkpoints import some
from lit_mmembed.encoders.clip_fusion import ClipFusion
from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
from lit_mmembed.errors import InputError

PREFIX = "clip_model."
NOT_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Constants that OpenAI's files carry among the weights."""


def load_uniir(encoder: ClipFusion, path: str | Path) -> None:
    """Copy the weights of a UniIR CLIP_SF checkpoint into an encoder; every weight of both must find its partner.

    Raises:
        InputError: the file is no such checkpoint, or of another architecture, or the encoder has another activation.
    """
    backbone = encoder.backbone
    if not isinstance(backbone, OpenClipBackbone) or not backbone.config.get("quick_gelu", False):
        fix = "build the encoder on the architecture ViT-L-14-quickgelu"
        raise InputError("UniIR's CLIP has QuickGELU activations, this encoder has not", file=path, fix=fix)
    weights = uniir_weights(path)
    own = backbone.model.state_dict()
    _check(weights, own, path)
    backbone.model.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in weights.items()})


def uniir_weights(path: str | Path) -> dict[str, Tensor]:
    """Read the weights under open_clip's names; nothing in the file is executed."""
    try:
        with torch.serialization.safe_globals(_config_types()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="download UniIR's clip_sf_large.pth") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as broken:
        first = str(broken).splitlines()[0]
        raise InputError(f"is no readable checkpoint: {first}", file=path, fix="download it again") from None
    model = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(model, dict):
        raise InputError('has no weights under "model"', file=path, fix="give a checkpoint that UniIR wrote")
    stray = sorted(name for name in model if not name.startswith(PREFIX))
    if stray:
        raise InputError(f"holds weights that are not CLIP_SF's: {some(stray)}", file=path, fix="use clip_sf_large.pth")
    named = {name.removeprefix(PREFIX): tensor for name, tensor in model.items()}
    return {name: tensor for name, tensor in named.items() if name not in NOT_WEIGHTS}


def _check(weights: dict[str, Tensor], own: dict[str, Tensor], path: str | Path) -> None:
    fix = "build the encoder on the architecture that the checkpoint was trained with"
    if missing := sorted(own.keys() - weights.keys()):
        raise InputError(f"lacks {some(missing)}", file=path, fix=fix)
    if unused := sorted(weights.keys() - own.keys()):
        raise InputError(f"has weights that this encoder has not: {some(unused)}", file=path, fix=fix)
    if unlike := sorted(name for name in own if own[name].shape != weights[name].shape):
        raise InputError(f"has other shapes: {some(unlike)}", file=path, fix=fix)


def _config_types() -> list[Any]:
    """Return what the OmegaConf `config` in UniIR's files is made of: the loader refuses all other classes."""
    from omegaconf import DictConfig, ListConfig
    from omegaconf.base import ContainerMetadata, Metadata
    from omegaconf.nodes import AnyNode

    omega: list[Any] = [DictConfig, ListConfig, ContainerMetadata, Metadata, AnyNode]
    return [*omega, typing.Any, dict, list, int, collections.defaultdict]

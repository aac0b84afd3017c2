"""FSDP2, where a process keeps a part of every weight and gathers a block's to compute with it; DeepSpeed's needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import base_fingerprint, own_weights
from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def shard_encoder(encoder: Encoder, mesh: DeviceMesh) -> None:
    """Shard an encoder's weights over a mesh of one dimension, in place: its blocks one by one, then the rest."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if encoder.own_names() is not None:
        encoder.base = base_fingerprint(encoder)  # while the weights are whole
    scalars = {parameter for parameter in encoder.parameters() if parameter.ndim == 0}  # FSDP2 takes none
    for block in encoder.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(encoder, mesh=mesh, ignored_params=scalars)
    register_fsdp_forward_method(encoder, "frozen_part")


def whole_weights(encoder: Encoder) -> dict[str, Tensor]:
    """Return what a model folder keeps, gathered where it is sharded: a call that all processes make together."""
    return {name: _whole(tensor) for name, tensor in own_weights(encoder).items()}


def average_whole_gradients(module: nn.Module) -> None:
    """Average over processes the gradients that FSDP2 leaves to each: those of parameters which are not sharded.

    A call that all processes make together. Made after each backward pass it is right under accumulation too: what was
    averaged before is the same everywhere.
    """
    for parameter in module.parameters():
        if parameter.grad is not None and not hasattr(parameter, "full_tensor"):
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def is_sharded(module: nn.Module) -> bool:
    """Say whether any parameter is only a part."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def refuse_wrong_strategy(strategy: str, loss: nn.Module, chunk_tokens: int | None) -> None:
    """Raise for a strategy, by its class's name, that a retriever can't be trained with.

    FSDP1 takes no scalar parameter (CLIP's scale, a learned temperature) and swaps the parameters that the cached step
    differentiates; a model folder made under it would hold parts.

    Raises:
        InputError: FSDP1, or DeepSpeed with settings that it gets wrong.
    """
    if strategy == "FSDPStrategy":
        fix = "take FSDP2: -c experiments/mbeir/machines/fsdp2.yaml"
        raise InputError("trainer.strategy=fsdp is Lightning's FSDP1, which does not train a retriever", fix=fix)
    if strategy == "DeepSpeedStrategy":
        refuse_under_deepspeed(loss, chunk_tokens)


def refuse_under_deepspeed(loss: nn.Module, chunk_tokens: int | None) -> None:
    """Raise for settings that DeepSpeed takes without a word or an explanation.

    ZeRO-2 reduces gradients in the order in which they come and takes it to be the same in every process. In a plain
    step it is not, where one process has texts only: the gradients would be wrong. It also takes no scalar parameter.

    Raises:
        InputError: a plain step, or a learned temperature.
    """
    if chunk_tokens is None:
        fix = "set model.chunk_tokens, or take DDP or FSDP2"
        raise InputError("DeepSpeed would mix up the gradients of processes with other modalities", fix=fix)
    if any(parameter.ndim == 0 for parameter in loss.parameters()):
        fix = "set model.loss.init_args.learn_temperature=false"
        raise InputError("DeepSpeed takes no scalar parameter, which a learned temperature is", fix=fix)


def _whole(tensor: Any) -> Tensor:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor

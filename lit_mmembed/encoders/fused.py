"""Faster forms of two layers that an adapted language model runs most: LoRA's linear layer and RMSNorm.

peft's layer casts its input to the adapter's fp32 and back and passes over the whole output three times more than a
product needs; transformers' norm is six kernels. Weights, names and results stay; only the class of a module changes.

Shapes: T tokens, I input and O output width, r rank.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn
from torch.nn import functional as F


def fuse_lora(language_model: nn.Module) -> None:
    """Let every plain LoRA layer over a frozen `nn.Linear` compute as `FusedLoraLinear`, in place."""
    for module in language_model.modules():
        if type(module) is PeftLinear and type(cast(PeftLinear, module).get_base_layer()) is nn.Linear:
            module.__class__ = FusedLoraLinear


def fuse_norms(language_model: nn.Module) -> None:
    """Let every RMSNorm of transformers compute as one kernel on a GPU in half precision, in place."""
    for module in language_model.modules():
        kind = type(module)
        if kind.__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon") and kind is not nn.RMSNorm:
            module.__class__ = _fused_norm(kind)


class FusedLoraLinear(PeftLinear):
    """W x + s B A x in the precision of the product, the update added where the product is written."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return what peft's layer returns; dropout, merged and disabled adapters go its way."""
        name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
        base = self.get_base_layer()
        plain = name in self.lora_A and not self.lora_variant and not (self.disable_adapters or self.merged or kwargs)
        if not plain or base.weight.requires_grad or not isinstance(self.lora_dropout[name], nn.Identity):
            return super().forward(x, *args, **kwargs)
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else base.weight.dtype
        low, high = self.lora_A[name].weight, self.lora_B[name].weight
        return _LoraProduct.apply(x, base.weight, base.bias, low, high, float(self.scaling[name]), dtype)


class _LoraProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_OI: Tensor,
        bias: Tensor | None,
        low_rI: Tensor,
        high_Or: Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> Tensor:
        x_TI = x.reshape(-1, x.shape[-1]).to(dtype)
        hidden_Tr = x_TI @ low_rI.to(dtype).T
        out_TO = F.linear(x_TI, weight_OI.to(dtype), None if bias is None else bias.to(dtype))
        out_TO.addmm_(hidden_Tr, (high_Or * scale).to(dtype).T)
        ctx.save_for_backward(x_TI, hidden_Tr, weight_OI, low_rI, high_Or)
        ctx.scale, ctx.shape, ctx.x_dtype = scale, x.shape, x.dtype
        return out_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x_TI, hidden_Tr, weight_OI, low_rI, high_Or = ctx.saved_tensors
        dtype = x_TI.dtype
        of_out_TO = gradient.reshape(-1, gradient.shape[-1]).to(dtype)
        of_hidden_Tr = of_out_TO @ (high_Or * ctx.scale).to(dtype)
        of_low = of_high = of_x = None
        if ctx.needs_input_grad[3]:
            of_low = (of_hidden_Tr.T @ x_TI).to(low_rI.dtype)
        if ctx.needs_input_grad[4]:
            of_high = (of_out_TO.T @ hidden_Tr).to(high_Or.dtype) * ctx.scale
        if ctx.needs_input_grad[0]:
            of_x_TI = of_out_TO @ weight_OI.to(dtype)
            of_x = of_x_TI.addmm_(of_hidden_Tr, low_rI.to(dtype)).view(ctx.shape).to(ctx.x_dtype)
        return of_x, None, None, of_low, of_high, None, None


_NORMS: dict[type, type] = {}


def _fused_norm(kind: type) -> type:
    """Return a subclass of a norm of transformers."""
    if kind in _NORMS.values():
        return kind
    if kind not in _NORMS:

        def forward(self: Any, hidden_states: Tensor) -> Tensor:
            if not (hidden_states.is_cuda and hidden_states.dtype in (torch.bfloat16, torch.float16)):
                return kind.forward(self, hidden_states)  # type: ignore[attr-defined]
            with torch.autocast("cuda", enabled=False):
                weight = self.weight.to(hidden_states.dtype)
                return F.rms_norm(hidden_states, weight.shape, weight, self.variance_epsilon)

        _NORMS[kind] = type(kind.__name__, (kind,), {"forward": forward})
    return _NORMS[kind]

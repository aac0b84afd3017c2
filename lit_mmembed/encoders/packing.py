"""Rows of different lengths in one packed sequence: no padding reaches a linear layer, and none an attention score.

The tokens of n rows lie one after the other [T]. `Packing` says where each begins; `packed_attention`, registered with
transformers under the name `PACKED`, keeps rows apart. On a GPU in half precision it is torch's variable-length flash
attention; elsewhere queries, keys and values (and nothing else) are padded for torch's scaled dot product.

Shapes: T tokens of all rows, n rows, L tokens of the longest, H heads, K key/value heads, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PACKED = "mmembed_packed"
"""The attention's name in a transformers configuration."""


@dataclass
class Packing:
    """Where each row lies among the packed tokens, and which tokens a token may look at."""

    lengths: Tensor
    """[n] int64 tokens of each row, all at least 1."""
    causal: bool
    longest: int
    """L, on the host: no wait for the device."""

    @cached_property
    def starts(self) -> Tensor:
        """[n + 1] int32: the first token of each row, and T."""
        return F.pad(self.lengths.cumsum(0), (1, 0)).to(torch.int32)

    @cached_property
    def last(self) -> Tensor:
        """[n] int64: the last token of each row."""
        return self.lengths.cumsum(0) - 1

    @cached_property
    def row(self) -> Tensor:
        """[T] int64: the row of each token."""
        return torch.repeat_interleave(torch.arange(len(self.lengths), device=self.lengths.device), self.lengths)

    @cached_property
    def position(self) -> Tensor:
        """[T] int64: each token's position in its row, from 0."""
        return torch.arange(len(self.row), device=self.row.device) - self.starts[:-1].long()[self.row]

    @cached_property
    def padded_place(self) -> Tensor:
        """[T] int64: each token's place in a padded [n, L]."""
        return self.row * self.longest + self.position

    @cached_property
    def key_mask(self) -> Tensor | None:
        """[n, 1, 1, L] bool, True for tokens; None where no row has padding or causality hides it."""
        if self.causal or len(self.row) == len(self.lengths) * self.longest:
            return None
        places = torch.arange(self.longest, device=self.lengths.device)
        return (places < self.lengths.unsqueeze(1)).view(-1, 1, 1, self.longest)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    dropout: float = 0.0,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attend within each packed row.

    Args:
        module: The attention layer that calls.
        query: [1, H, T, d].
        key: [1, K, T, d], H a multiple of K.
        value: [1, K, T, d].
        attention_mask: Always None: transformers makes no mask for an attention it does not know.
        packing: Passed through the language model's forward.
        scaling: On the scores; 1 / sqrt(d) by default.
        dropout: On the attention weights.
        unused: What transformers passes to every attention (a sliding window is refused when a model is built).

    Returns:
        [1, T, H, d] and no weights.
    """
    if query.is_cuda and torch.is_autocast_enabled("cuda"):  # rotary positions make fp32 of half precision
        query, key, value = (tensor.to(torch.get_autocast_dtype("cuda")) for tensor in (query, key, value))
    flash = _flash() if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and not dropout else None
    if flash is not None:
        return flash(query, key, value, packing, scaling), None
    return _padded(query, key, value, packing, scaling, dropout), None


def register() -> None:
    """Make `PACKED` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)


def chunks_by_tokens(lengths: Tensor, budget: int) -> list[Tensor]:
    """Cut rows into chunks of at most `budget` tokens, sorted by length so that a chunk pads little.

    Args:
        lengths: [n] tokens of each row.
        budget: Tokens per chunk; a longer row is a chunk of its own.

    Returns:
        The rows of each chunk, int64, longest rows first: what does not fit in memory fails at once.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    chunks: list[list[int]] = []
    filled = 0
    for row, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        if not chunks or filled + length > budget:
            chunks.append([])
            filled = 0
        chunks[-1].append(row)
        filled += length
    return [torch.tensor(chunk, dtype=torch.int64) for chunk in chunks]


def _padded(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, dropout: float
) -> Tensor:
    heads, groups = query.shape[1], query.shape[1] // key.shape[1]
    shape = (len(packing.lengths), packing.longest)
    even = query.shape[2] == shape[0] * shape[1]

    def pad(packed: Tensor) -> Tensor:
        tokens = packed[0].transpose(0, 1)  # [T, heads, d]
        if even:
            return tokens.unflatten(0, shape).transpose(1, 2)
        rows = tokens.new_zeros((shape[0] * shape[1], *tokens.shape[1:])).index_copy(0, packing.padded_place, tokens)
        return rows.view(*shape, *tokens.shape[1:]).transpose(1, 2)

    key, value = pad(key), pad(value)
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    attended = F.scaled_dot_product_attention(
        pad(query), key, value, attn_mask=packing.key_mask, dropout_p=dropout, is_causal=packing.causal, scale=scaling
    )
    flat = attended.transpose(1, 2).reshape(shape[0] * shape[1], heads, -1)
    return (flat if even else flat.index_select(0, packing.padded_place)).unsqueeze(0)


@lru_cache(maxsize=1)
def _flash() -> Callable[[Tensor, Tensor, Tensor, Packing, float | None], Tensor] | None:
    """Return the variable-length flash attention of this torch, if it has one."""
    try:
        import inspect

        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    takes = inspect.signature(varlen_attn).parameters

    def flash(query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None) -> Tensor:
        groups = query.shape[1] // key.shape[1]
        options: dict[str, Any] = {"scale": scaling} if "scale" in takes else {}
        if "window_size" in takes:
            options["window_size"] = (-1, 0) if packing.causal else (-1, -1)
        else:
            options["is_causal"] = packing.causal
        if groups > 1 and "enable_gqa" in takes:
            options["enable_gqa"] = True
        elif groups > 1:
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        rows = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        ends, longest = packing.starts, packing.longest
        attended: Any = varlen_attn(*rows, ends, ends, longest, longest, **options)  # type: ignore[call-arg, arg-type]
        return attended.unsqueeze(0)

    return flash

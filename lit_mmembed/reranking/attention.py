"""Attention over packed prompts that share a prefix: the prefix is one row, however many suffixes hang on it.

The tokens lie packed [T]: first the prefixes of all groups, then the suffixes, group after group. A prefix is causal in
itself. A suffix sees all of its group's prefix and is causal in itself: what it would see with the prefix before it.
Linear layers thus work on P + K S tokens in the place of K (P + S).

Shapes: T packed tokens, H heads, V key/value heads, d width of a head; of one group: P tokens of the prefix, K
suffixes, S tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.encoders.packing import Packing, packed_attention

SHARED = "mmembed_shared_prefix"
"""The attention's name in a transformers configuration."""


class Places(NamedTuple):
    """Where one group's suffixes and what they see lie among the packed tokens."""

    query: Tensor
    """[K, S] int64; behind a suffix's end its last token."""
    key: Tensor
    """[K, P + S] int64."""
    own: Tensor
    """[tokens of the suffixes] int64: their places in a flat [K * S]."""
    mask: Tensor
    """[S, P + S] bool: causal, the last token of a full suffix sees everything."""


@dataclass
class SharedPacking:
    """Where each prefix and each suffix lies.

    Attributes:
        prefixes: Tokens of each group's prefix; 0 where its suffixes share nothing.
        suffixes: Tokens of each suffix of each group, all at least 1.
        device: Of the tensors.
    """

    prefixes: Sequence[int]
    suffixes: Sequence[Sequence[int]]
    device: torch.device

    @cached_property
    def prefix(self) -> Packing | None:
        """The prefixes as rows of their own."""
        held = [length for length in self.prefixes if length]
        return Packing(torch.tensor(held, device=self.device), True, max(held)) if held else None

    @property
    def prefix_tokens(self) -> int:
        """How many packed tokens are prefixes'."""
        return sum(self.prefixes)

    @cached_property
    def flat(self) -> list[tuple[int, int, int]]:
        """(start of the prefix, its tokens, the suffix's tokens) of every suffix."""
        starts = _starts(self.prefixes)
        rows = zip(starts, self.prefixes, self.suffixes, strict=False)
        return [(start, prefix, suffix) for start, prefix, group in rows for suffix in group]

    @cached_property
    def position(self) -> Tensor:
        """[T] int64: each token's position in its prompt."""
        parts = [torch.arange(length) for length in self.prefixes]
        parts += [torch.arange(prefix, prefix + length) for _, prefix, length in self.flat]
        return torch.cat(parts).to(self.device)

    @cached_property
    def last(self) -> Tensor:
        """[suffixes] int64: the last token of each prompt."""
        ends = torch.tensor([length for *_, length in self.flat]).cumsum(0)
        return (ends + self.prefix_tokens - 1).to(self.device)

    @cached_property
    def groups(self) -> list[Places]:
        """What the padded attention needs, group by group."""
        made, start = [], self.prefix_tokens
        for prefix_start, prefix, lengths in zip(_starts(self.prefixes), self.prefixes, self.suffixes, strict=False):
            made.append(self._places(prefix_start, prefix, lengths, start))
            start += sum(lengths)
        return made

    @cached_property
    def varlen(self) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """For flash attention: places of all keys, ends of queries and of keys [n + 1], longest of both."""
        place, parts = self.prefix_tokens, []
        for start, prefix, length in self.flat:
            parts += [torch.arange(start, start + prefix), torch.arange(place, place + length)]
            place += length
        own = torch.tensor([length for *_, length in self.flat])
        seen = torch.tensor([prefix + length for _, prefix, length in self.flat])
        ends = (F.pad(lengths.cumsum(0), (1, 0)).to(self.device, torch.int32) for lengths in (own, seen))
        return torch.cat(parts).to(self.device), *ends, int(own.max()), int(seen.max())  # type: ignore[return-value]

    def _places(self, prefix_start: int, prefix: int, lengths: Sequence[int], start: int) -> Places:
        own = torch.tensor(lengths).unsqueeze(1)
        longest = int(own.max())
        begins = torch.tensor(_starts(lengths)[:-1]).unsqueeze(1) + start
        within = torch.arange(longest).unsqueeze(0)
        query = begins + torch.minimum(within, own - 1)
        before = torch.arange(prefix_start, prefix_start + prefix).expand(len(lengths), prefix)
        flat = torch.nonzero((within < own).flatten()).flatten()
        mask = torch.ones(longest, prefix + longest, dtype=torch.bool).tril(prefix)
        parts = query, torch.cat([before, query], dim=1), flat, mask
        return Places(*(part.to(self.device) for part in parts))


def shared_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: SharedPacking,
    scaling: float | None = None,
    **unused: Any,
) -> tuple[Tensor, None]:
    """Attend within each prompt; takes [1, H, T, d] and [1, V, T, d], returns [1, T, H, d] and no weights."""
    cut = packing.prefix_tokens
    parts = []
    if packing.prefix is not None:
        before, keys, values = (tensor[:, :, :cut] for tensor in (query, key, value))
        made, _ = packed_attention(module, before, keys, values, None, packing=packing.prefix, scaling=scaling)
        parts.append(made[0])
    asking, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        parts.append(_flash(asking, keys, values, packing, scaling))
    else:
        parts += [_padded(asking, keys, values, places, scaling) for places in packing.groups]
    return torch.cat(parts).unsqueeze(0), None


def register() -> None:
    """Make `SHARED` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(SHARED, shared_attention)


def _padded(query: Tensor, key: Tensor, value: Tensor, places: Places, scaling: float | None) -> Tensor:
    """Return the suffixes' [tokens, H, d] of one group; heads of one key/value head are taken as further queries."""
    count, longest = places.query.shape
    heads, shared, width = query.shape[1], key.shape[1], query.shape[2]
    fold = heads // shared
    folded = query[places.query].view(count, longest, shared, fold, width).permute(0, 2, 3, 1, 4)
    keys, values = (tensor[places.key].transpose(1, 2) for tensor in (key, value))
    attended = F.scaled_dot_product_attention(
        folded.reshape(count, shared, fold * longest, width),
        keys,
        values,
        attn_mask=places.mask.repeat(fold, 1),
        scale=scaling,
    )
    rows = attended.view(count, shared, fold, longest, width).permute(0, 3, 1, 2, 4)
    return rows.reshape(count * longest, heads, width).index_select(0, places.own)


def _flash(query: Tensor, key: Tensor, value: Tensor, packing: SharedPacking, scaling: float | None) -> Tensor:
    """Return the suffixes' [tokens, H, d] of all groups; each suffix gets a copy of its prefix's keys and values."""
    from torch.nn.attention.varlen import varlen_attn

    places, own, seen, longest, longest_seen = packing.varlen
    options: dict[str, Any] = {"scale": scaling, "window_size": (-1, 0), "enable_gqa": query.shape[1] > key.shape[1]}
    held = query[packing.prefix_tokens :].contiguous(), key[places], value[places]
    return varlen_attn(*held, own, seen, longest, longest_seen, **options)  # type: ignore[return-value]


def _starts(lengths: Sequence[int]) -> list[int]:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts

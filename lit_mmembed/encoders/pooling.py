"""From the hidden states of packed rows to one vector per row: last token, EOS, mean, latent attention.

Which tokens count is a mask per token, made where the prompt is tokenized; nothing here counts positions from the left,
so padding and the mix of modalities in a batch change nothing.

Shapes: T tokens of all rows, n rows, D width, H heads, d width of a head, M latents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.encoders.packing import Packing


class Pooling(nn.Module, ABC):
    """Makes one vector of a row's hidden states."""

    needs_eos = False
    """Only works where the prompt ends with the end-of-sequence token."""
    from_checkpoint = False
    """Its weights are those of a checkpoint that `init_args` names: a model folder need not keep them."""

    @abstractmethod
    def forward(self, hidden_TD: Tensor, packing: Packing, counts_T: Tensor) -> Tensor:
        """Return [n, D].

        Args:
            hidden_TD: Last hidden states.
            packing: Where the rows lie.
            counts_T: Bool, True for the tokens that count (the instruction's may not).
        """

    def init_args(self) -> dict[str, Any]:
        """Return what rebuilds this; the weights come from the model folder or from the checkpoint named here."""
        return {}

    def pooled_tokens(self, packing: Packing) -> Tensor | None:
        """Return the tokens [n] whose hidden states are enough, where one per row is; None where all are needed."""
        return None


class LastTokenPooling(Pooling):
    """The hidden state of the row's last token: the "one word" of LLaVA-P (Table 12)."""

    def forward(self, hidden_TD: Tensor, packing: Packing, counts_T: Tensor) -> Tensor:
        """Return [n, D]."""
        return hidden_TD[packing.last]

    def pooled_tokens(self, packing: Packing) -> Tensor | None:
        """Return the last token of each row."""
        return packing.last


class EosPooling(LastTokenPooling):
    """The hidden state of the end-of-sequence token that closes each prompt: LLaVA-E (Table 11)."""

    needs_eos = True


class MeanPooling(Pooling):
    """The mean of the hidden states that count."""

    def forward(self, hidden_TD: Tensor, packing: Packing, counts_T: Tensor) -> Tensor:
        """Return [n, D]; a row in which no token counts is pooled over all of them."""
        return masked_mean(hidden_TD, packing, counts_T)


class LatentAttentionPooling(Pooling):
    """NV-Embed's pooling: every token attends to M learned latents, a GEGLU layer follows, then the mean.

    Both steps are residual and normalise their input; the latents are normalised too. Token by token, so the mask only
    matters in the mean. (Lee et al., 2024, section 3.1; the names of the weights are those of NV-Embed-v1.)

    Args:
        width: D, the language model's.
        latents: M.
        heads: H.
        head_width: d; NV-Embed-v1 has d = D, so that the inner width is H x D.
        checkpoint: A folder or hub name of NV-Embed-v1 or MM-Embed whose `latent_attention_model.*` are loaded.
    """

    def __init__(
        self,
        width: int = 4096,
        *,
        latents: int = 512,
        heads: int = 8,
        head_width: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        self._init_args = {"width": width, "latents": latents, "heads": heads, "head_width": head_width or width}
        self.latents = nn.Parameter(torch.randn(latents, width))
        attention = _LatentAttention(width, heads, head_width or width)
        self.cross_attend_blocks = nn.ModuleList(
            [_PreNorm(width, attention, context=True), _PreNorm(width, _FeedForward(width))]
        )
        self.checkpoint = checkpoint
        self.from_checkpoint = checkpoint is not None
        if checkpoint is not None:
            from lit_mmembed.encoders.checkpoints import load_prefixed

            load_prefixed(self, checkpoint, prefix="latent_attention_model.")

    def forward(self, hidden_TD: Tensor, packing: Packing, counts_T: Tensor) -> Tensor:
        """Return [n, D]; a row in which no token counts is pooled over all of them."""
        attend, feed = self.cross_attend_blocks
        hidden_TD = hidden_TD.to(self.latents.dtype)
        hidden_TD = attend(hidden_TD, self.latents) + hidden_TD
        hidden_TD = feed(hidden_TD) + hidden_TD
        return masked_mean(hidden_TD, packing, counts_T)

    def init_args(self) -> dict[str, Any]:
        """Return the sizes, and the checkpoint where the weights are still its."""
        return {**self._init_args, **({"checkpoint": str(self.checkpoint)} if self.from_checkpoint else {})}


def masked_mean(hidden_TD: Tensor, packing: Packing, counts_T: Tensor) -> Tensor:
    """Return the mean of each row's counting tokens [n, D], in fp32."""
    n = len(packing.lengths)
    counting_n = torch.zeros(n, device=hidden_TD.device).index_add(0, packing.row, counts_T.float())
    weight_T = torch.where(counting_n[packing.row] > 0, counts_T, True).float()
    total_n = torch.zeros_like(counting_n).index_add(0, packing.row, weight_T)
    sums_nD = torch.zeros(n, hidden_TD.shape[1], device=hidden_TD.device)
    sums_nD = sums_nD.index_add(0, packing.row, hidden_TD.float() * weight_T.unsqueeze(1))
    return sums_nD / total_n.unsqueeze(1)


class _PreNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module, *, context: bool = False) -> None:
        super().__init__()
        self.fn = fn
        self.norm = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width) if context else None

    def forward(self, hidden: Tensor, context: Tensor | None = None) -> Tensor:
        if self.norm_context is None:
            return self.fn(self.norm(hidden))
        return self.fn(self.norm(hidden), self.norm_context(context))


class _LatentAttention(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, width, bias=False)

    def forward(self, hidden_TD: Tensor, latent_MD: Tensor) -> Tensor:
        key, value = self.to_kv(latent_MD).chunk(2, dim=-1)
        three = (self.to_q(hidden_TD), key, value)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(0, 1).unsqueeze(0) for x in three)
        attended_HTd = F.scaled_dot_product_attention(query, key, value)[0]
        return self.to_out(attended_HTd.transpose(0, 1).flatten(1))


class _FeedForward(nn.Module):
    def __init__(self, width: int, times: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, 2 * times * width), _Geglu(), nn.Linear(times * width, width))

    def forward(self, hidden: Tensor) -> Tensor:
        return self.net(hidden)


class _Geglu(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        value, gate = hidden.chunk(2, dim=-1)
        return value * F.gelu(gate)

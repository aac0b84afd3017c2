"""The usual way through transformers: rows padded to the longest of their batch, and an attention mask."""

from __future__ import annotations

import torch
from torch.nn import functional

from lit_mmembed.encoders.packing import PACKED, Packing


def padded_vectors(encoder, features):
    """The vectors of `encoder(features)` for a pooling of the last token, made by padded rows."""
    features = encoder.frozen_part(features)
    lengths = features["lengths"].long()
    packing = Packing(lengths, True, int(lengths.max()))
    packed = encoder._embedded(features)
    shape = (len(lengths), packing.longest)
    rows = packed.new_zeros((shape[0] * shape[1], packed.shape[1])).index_copy(0, packing.padded_place, packed)
    mask = torch.arange(packing.longest, device=lengths.device) < lengths.unsqueeze(1)
    model = encoder.backbone.language_model
    model.config._attn_implementation = "sdpa"
    try:
        hidden = model(
            inputs_embeds=rows.view(*shape, -1), attention_mask=mask.long(), use_cache=False
        ).last_hidden_state
    finally:
        model.config._attn_implementation = PACKED
    last = hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1]
    return functional.normalize(last.float(), dim=-1)

"""The towers of a plain open_clip CLIP, computing only what reaches the pooled token.

Two savings without a change of the result: texts are padded to the longest of the batch rather than to the context
(causal attention pooled at the end token never looks at padding), and the last block computes the pooled token alone
(queries of one token, keys of all): a fifth of the time of a tower with four blocks.

Shapes: B rows, L tokens, H heads, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

POOLED_AT_END = ("argmax", "eos")


def has_plain_text_tower(model: Any) -> bool:
    """Say whether `encode_text` below does what the model does: causal, pooled at the end token, plain blocks."""
    causal = isinstance(getattr(model, "attn_mask", None), Tensor)
    return causal and getattr(model, "text_pool_type", "") in POOLED_AT_END and _is_plain(model.transformer)


def has_plain_image_tower(model: Any) -> bool:
    """Say whether `encode_image` below does what the model does: a ViT pooled at its class token, plain blocks."""
    from open_clip.transformer import VisionTransformer

    visual = model.visual
    if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None or visual.output_tokens:
        return False
    return visual.pool_type == "tok" and _is_plain(visual.transformer)


def encode_text(model: Any, tokens_BL: Tensor) -> Tensor:
    """Return text vectors of ids padded on the right to any length L."""
    length = tokens_BL.shape[1]
    causal_LL = model.attn_mask[:length, :length]
    hidden_BLD = model.token_embedding(tokens_BL) + model.positional_embedding[:length]
    for block in model.transformer.resblocks[:-1]:
        hidden_BLD = _run(model.transformer, block, hidden_BLD, causal_LL)
    ends = tokens_BL == model.text_eos_id if model.text_pool_type == "eos" else tokens_BL
    end_B = ends.int().argmax(dim=1)
    pooled_BD = model.ln_final(_last_block(model.transformer.resblocks[-1], hidden_BLD, end_B, causal_LL[end_B]))
    projection = model.text_projection
    if projection is None:
        return pooled_BD
    return projection(pooled_BD) if isinstance(projection, nn.Linear) else pooled_BD @ projection


def encode_image(model: Any, pixels: Tensor) -> Tensor:
    """Return image vectors of normalised pixels [B, 3, height, width]."""
    visual = model.visual
    hidden_BLD = visual._embeds(pixels)
    for block in visual.transformer.resblocks[:-1]:
        hidden_BLD = _run(visual.transformer, block, hidden_BLD, None)
    first_B = torch.zeros(len(hidden_BLD), dtype=torch.int64, device=pixels.device)
    pooled_BD = visual.ln_post(_last_block(visual.transformer.resblocks[-1], hidden_BLD, first_B, None))
    return pooled_BD if visual.proj is None else pooled_BD @ visual.proj


def _is_plain(transformer: Any) -> bool:
    from open_clip.transformer import ResidualAttentionBlock

    return transformer.batch_first and all(type(block) is ResidualAttentionBlock for block in transformer.resblocks)


def _run(transformer: Any, block: Any, hidden_BLD: Tensor, mask: Tensor | None) -> Tensor:
    if transformer.grad_checkpointing and torch.is_grad_enabled():
        return torch.utils.checkpoint.checkpoint(block, hidden_BLD, None, None, mask, use_reentrant=False)
    return block(hidden_BLD, attn_mask=mask)


def _last_block(block: Any, hidden_BLD: Tensor, place_B: Tensor, mask_BL: Tensor | None) -> Tensor:
    """Return the block's output at one place of each row [B, D]; `mask_BL` is added to that place's attention."""
    normed_BLD = block.ln_1(hidden_BLD)
    row_B = torch.arange(len(place_B), device=place_B.device)
    mask = None if mask_BL is None else mask_BL.repeat_interleave(block.attn.num_heads, dim=0).unsqueeze(1)
    attended = block.attention(normed_BLD[row_B, place_B].unsqueeze(1), normed_BLD, normed_BLD, attn_mask=mask)
    pooled_BD = hidden_BLD[row_B, place_B] + block.ls_1(attended.squeeze(1))
    return pooled_BD + block.ls_2(block.mlp(block.ln_2(pooled_BD)))

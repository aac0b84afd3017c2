"""Poolings beside loops that share no code with them."""

from __future__ import annotations

import math

import pytest
import torch

from lit_mmembed.encoders.packing import Packing
from lit_mmembed.encoders.pooling import EosPooling, LastTokenPooling, LatentAttentionPooling, MeanPooling
from lit_mmembed.errors import InputError
from tests.encoders.small_mllm import HEADS, POOLING, WIDTH, copied, nv_embed_folder, tensors_of, write_tensors

LENGTHS = [4, 1, 6]
PACKING = Packing(torch.tensor(LENGTHS), True, 6)
PREFIX = "latent_attention_model."


@pytest.fixture
def hidden():
    return torch.randn(sum(LENGTHS), WIDTH, generator=torch.Generator().manual_seed(3))


def rows_of(tensor):
    return tensor.split(LENGTHS)


def layer_norm(x, weights, name):
    out = []
    for row in x:
        mean = row.mean()
        spread = ((row - mean) ** 2).mean()
        out.append((row - mean) / math.sqrt(spread + 1e-5) * weights[f"{name}.weight"] + weights[f"{name}.bias"])
    return torch.stack(out)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def nv_embed_tokens(hidden, weights):
    """NV-Embed's latent attention of every token, written out from its description."""
    latents = layer_norm(weights["latents"], weights, "cross_attend_blocks.0.norm_context")
    tokens = layer_norm(hidden, weights, "cross_attend_blocks.0.norm")
    query = torch.einsum("td,ed->te", tokens, weights["cross_attend_blocks.0.fn.to_q.weight"])
    both = torch.einsum("md,ed->me", latents, weights["cross_attend_blocks.0.fn.to_kv.weight"])
    inner = query.shape[1]
    key, value = both[:, :inner], both[:, inner:]
    width = inner // HEADS
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = torch.einsum("te,me->tm", query[:, part], key[:, part]) / math.sqrt(width)
        heads.append(torch.einsum("tm,me->te", scores.softmax(-1), value[:, part]))
    attended = torch.einsum("te,de->td", torch.cat(heads, 1), weights["cross_attend_blocks.0.fn.to_out.weight"])
    hidden = attended + hidden
    fed = layer_norm(hidden, weights, "cross_attend_blocks.1.norm")
    fed = torch.einsum("td,ed->te", fed, weights["cross_attend_blocks.1.fn.net.0.weight"])
    fed = fed + weights["cross_attend_blocks.1.fn.net.0.bias"]
    fed = fed[:, : 4 * WIDTH] * gelu(fed[:, 4 * WIDTH :])
    fed = torch.einsum("te,de->td", fed, weights["cross_attend_blocks.1.fn.net.2.weight"])
    return fed + weights["cross_attend_blocks.1.fn.net.2.bias"] + hidden


def nv_embed_weights(folder):
    return {name.removeprefix(PREFIX): w for name, w in tensors_of(folder).items() if name.startswith(PREFIX)}


@pytest.mark.parametrize("pooling", [LastTokenPooling(), EosPooling()])
def test_the_last_token_is_that_of_each_row(pooling, hidden):
    expected = torch.stack([row[-1] for row in rows_of(hidden)])
    assert torch.equal(pooling(hidden, PACKING, torch.ones(len(hidden), dtype=torch.bool)), expected)
    assert pooling.pooled_tokens(PACKING).tolist() == [3, 4, 10]


def test_the_mean_is_over_the_tokens_that_count(hidden):
    counts = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1], dtype=torch.bool)
    expected = [
        sum(token for token, counting in zip(row, kept, strict=True) if counting) / int(kept.sum())
        for row, kept in zip(rows_of(hidden), rows_of(counts), strict=True)
    ]
    torch.testing.assert_close(MeanPooling()(hidden, PACKING, counts), torch.stack(expected))


def test_a_row_in_which_no_token_counts_is_pooled_over_all(hidden):
    none = torch.zeros(len(hidden), dtype=torch.bool)
    expected = torch.stack([row.mean(0) for row in rows_of(hidden)])
    torch.testing.assert_close(MeanPooling()(hidden, PACKING, none), expected)


@torch.no_grad()
def test_latent_attention_is_nv_embeds(hidden):
    pooling = LatentAttentionPooling(**POOLING, checkpoint=nv_embed_folder())
    counts = torch.tensor([0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1], dtype=torch.bool)
    tokens = nv_embed_tokens(hidden, nv_embed_weights(nv_embed_folder()))
    expected = [row[kept].sum(0) / kept.sum() for row, kept in zip(rows_of(tokens), rows_of(counts), strict=True)]
    torch.testing.assert_close(pooling(hidden, PACKING, counts), torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_half_precision_hidden_states_are_summed_in_single_precision():
    rows = Packing(torch.tensor([3000]), True, 3000)
    ones = torch.ones(3000, 2, dtype=torch.bfloat16)
    assert MeanPooling()(ones, rows, torch.ones(3000, dtype=torch.bool)).tolist() == [[1.0, 1.0]]


def test_a_checkpoint_of_other_sizes_or_without_the_weights_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"latents is \[6, 32\], the model has \[5, 32\]"):
        LatentAttentionPooling(**{**POOLING, "latents": 5}, checkpoint=nv_embed_folder())
    folder = copied(nv_embed_folder(), tmp_path)
    name = "cross_attend_blocks.1.fn.net.0.bias"
    write_tensors(folder, {key: w for key, w in tensors_of(folder).items() if not key.endswith(name)})
    with pytest.raises(InputError, match=f"lacks {name}"):
        LatentAttentionPooling(**POOLING, checkpoint=folder)
    write_tensors(folder, {**tensors_of(nv_embed_folder()), f"{PREFIX}more": torch.zeros(1)})
    with pytest.raises(InputError, match=f"has weights that the model has not: {PREFIX}more"):
        LatentAttentionPooling(**POOLING, checkpoint=folder)

"""Packed rows beside one attention per row."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_mmembed.encoders.packing import Packing, chunks_by_tokens, packed_attention

LENGTHS = [[5], [3, 3, 3], [1, 7, 2], [4, 1, 1, 9], [1, 1]]


def packing(lengths, causal=True, longest=None):
    return Packing(torch.tensor(lengths), causal, longest or max(lengths))


def drawn(lengths, heads, key_heads, width=4):
    generator = torch.Generator().manual_seed(sum(lengths))
    shapes = [(1, count, sum(lengths), width) for count in (heads, key_heads, key_heads)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def naive(query, key, value, lengths, causal, scaling):
    """Row by row, head by head, token by token."""
    heads = query.shape[1]
    groups = heads // key.shape[1]
    made, start = [], 0
    for length in lengths:
        for token in range(start, start + length):
            end = token + 1 if causal else start + length
            per_head = []
            for head in range(heads):
                keys, values = key[0, head // groups, start:end], value[0, head // groups, start:end]
                scores = torch.stack([(query[0, head, token] * k).sum() for k in keys]) * scaling
                weights = scores.exp() / scores.exp().sum()
                per_head.append(sum(w * v for w, v in zip(weights, values, strict=True)))
            made.append(torch.stack(per_head))
        start += length
    return torch.stack(made).unsqueeze(0)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_packed_attention_and_its_gradients_are_those_of_each_row_alone(lengths, causal, key_heads):
    given, same = drawn(lengths, 4, key_heads), drawn(lengths, 4, key_heads)
    ours, weights = packed_attention(torch.nn.Identity(), *given, None, packing=packing(lengths, causal))
    theirs = naive(*same, lengths, causal, 1 / math.sqrt(4))
    assert weights is None
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    for made in (ours, theirs):
        (made * torch.arange(made.numel()).view(made.shape).cos()).sum().backward()
    for one, other in zip(given, same, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
def test_more_padding_and_another_scale_change_what_they_should(causal):
    given = drawn([1, 7, 2], 4, 2)
    plain, _ = packed_attention(torch.nn.Identity(), *given, None, packing=packing([1, 7, 2], causal), scaling=0.3)
    longer, _ = packed_attention(torch.nn.Identity(), *given, None, packing=packing([1, 7, 2], causal, 23), scaling=0.3)
    torch.testing.assert_close(plain, longer, atol=1e-6, rtol=0)
    torch.testing.assert_close(plain, naive(*given, [1, 7, 2], causal, 0.3), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "bidirectional"])
def test_no_value_of_another_row_is_ever_seen(causal):
    query, key, value = (tensor.detach() for tensor in drawn([3, 5], 2, 2))
    before, _ = packed_attention(torch.nn.Identity(), query, key, value, None, packing=packing([3, 5], causal))
    key[:, :, 3:], value[:, :, 3:] = 1e4, float("nan")
    after, _ = packed_attention(torch.nn.Identity(), query, key, value, None, packing=packing([3, 5], causal))
    torch.testing.assert_close(before[:, :3], after[:, :3], atol=0, rtol=0)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_packing_says_where_each_token_lies(lengths):
    made = packing(lengths)
    assert made.row.tolist() == [row for row, length in enumerate(lengths) for _ in range(length)]
    assert made.position.tolist() == [position for length in lengths for position in range(length)]
    assert [int(made.row[last]) for last in made.last] == list(range(len(lengths)))
    assert made.starts.tolist() == [sum(lengths[:row]) for row in range(len(lengths) + 1)]
    assert made.padded_place.tolist() == [row * max(lengths) + i for row, n in enumerate(lengths) for i in range(n)]


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_chunks_hold_every_row_once_within_the_budget_longest_first(lengths, budget):
    chunks = [chunk.tolist() for chunk in chunks_by_tokens(torch.tensor(lengths, dtype=torch.int64), budget)]
    assert sorted(row for chunk in chunks for row in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        assert sum(lengths[row] for row in chunk) <= budget or len(chunk) == 1
    order = [lengths[row] for chunk in chunks for row in chunk]
    assert order == sorted(lengths, reverse=True)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40), st.integers(50, 120))
def test_two_neighbouring_chunks_would_not_fit_into_one(lengths, budget):
    chunks = [chunk.tolist() for chunk in chunks_by_tokens(torch.tensor(lengths), budget)]
    for one, next_one in itertools.pairwise(chunks):
        assert sum(lengths[row] for row in one) + lengths[next_one[0]] > budget

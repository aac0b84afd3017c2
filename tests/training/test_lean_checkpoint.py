"""What is told apart of weights that a checkpoint leaves out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_mmembed.training.lean_checkpoint import SAMPLED, digest, frozen_weights


def test_a_digest_is_of_type_shape_and_values():
    weight = torch.arange(12.0).view(3, 4)
    others = [
        weight.to(torch.bfloat16),
        weight.view(4, 3),
        weight.t(),
        weight + 1,
        weight.clone().index_fill_(0, torch.tensor(2), 0),
    ]
    assert len({digest(one) for one in (weight, *others)}) == 6
    assert digest(weight.clone()) == digest(nn.Parameter(weight)) == digest(weight.t().contiguous().t())


@pytest.mark.parametrize("shape", [(), (0,), (1,)])
def test_a_digest_of_hardly_anything(shape):
    assert digest(torch.zeros(shape)) == digest(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_large_tensor_is_sampled_in_all_its_columns(dtype):
    weight = torch.zeros(512, 1024, dtype=dtype)
    assert weight.numel() > 4 * SAMPLED
    for column in (0, 1, 511, 1023):
        other = weight.clone()
        other[:, column] = 1
        assert digest(other) != digest(weight)


def test_frozen_weights_have_all_their_names_and_no_buffers():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[1].weight = module[0].weight
    module[0].weight.requires_grad_(False)
    module[2].bias.requires_grad_(False)
    assert list(frozen_weights(module)) == ["0.weight", "1.weight", "2.bias"]

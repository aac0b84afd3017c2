"""What is told apart of weights that a checkpoint leaves out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lit_mmembed.errors import InputError
from lit_mmembed.training.lean_checkpoint import SAMPLED, LeanCheckpoint, digest, frozen_weights


class Packed(nn.Linear):
    """A linear layer whose state dict says how its weight is packed, as bitsandbytes' do."""

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight.absmax"] = torch.ones(1)


class Small(LeanCheckpoint):
    def __init__(self) -> None:
        super().__init__()
        self.packed, self.frozen, self.trained = Packed(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        for module in (self.packed, self.frozen):
            module.requires_grad_(False)
        strategy = SimpleNamespace(restore_checkpoint_after_setup=False)
        self._trainer = SimpleNamespace(strategy=strategy, ckpt_path="resume.ckpt")  # type: ignore[assignment]
        self.setup("fit")


def saved(module: Small) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_what_a_packed_weight_has_beside_it_is_left_out_too():
    checkpoint = saved(Small())
    assert checkpoint["state_dict"].keys() == {"trained.weight", "trained.bias"}
    again = Small()
    again.load_state_dict({**frozen_weights(again), **checkpoint["state_dict"]})


def test_what_is_trained_since_the_start_is_kept_and_going_on_is_refused():
    module = Small()
    module.frozen.requires_grad_(True)
    checkpoint = saved(module)
    assert {"frozen.weight", "frozen.bias"} <= checkpoint["state_dict"].keys()
    other = Small()
    other.load_state_dict(module.state_dict(), strict=False)
    other.setup("fit")
    with pytest.raises(InputError, match=r"the weight frozen\.bias is frozen now, not as when this run began"):
        other.on_load_checkpoint(checkpoint)


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

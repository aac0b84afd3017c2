"""In two processes, one of whose batches holds no image, gradients are the mean of what each batch alone gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lit_mmembed.data.generation import Example
from lit_mmembed.data.judging import Prompt
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.training.generation import GenerationModule
from lit_mmembed.training.reranker import RerankerModule
from tests.encoders.small import jpeg
from tests.encoders.small_mllm import llava_folder
from tests.processes import in_processes
from tests.reranking.world import every_task

TEXT = Example("text", Prompt("", ()), "the capital of France is Paris")
IMAGE = Example("caption", Prompt("<image>\n", (jpeg(3, (32, 32)),)), "two red cats on a mat")
CASES = ("reranker", "pretrain, vision frozen", "pretrain, vision trained")


class Stepping(nn.Module):
    """A training step as a forward, which DDP can wrap."""

    def __init__(self, module) -> None:
        super().__init__()
        self.module = module
        module.log = lambda *arguments, **options: None

    def forward(self, batch) -> Tensor:
        return self.module.training_step(batch, 0)


def stepping(case: str, folder: Path) -> tuple[Stepping, list]:
    """Make a module and two batches, the first without an image."""
    torch.manual_seed(0)
    if case == "reranker":
        module = RerankerModule(folder, lora=Lora(r=4, dropout=0.0), projector="trained")
        texts, images = (
            next(one for one in every_task() if bool(one.prompts[0].images) is wanted) for wanted in (False, True)
        )
        return Stepping(module), [[module.reranker.prepare(one)] for one in (texts, images)]
    pretraining = GenerationModule(folder, vision=case.rpartition(" ")[2])  # type: ignore[arg-type]
    return Stepping(pretraining), [pretraining.preprocess([one]) for one in (TEXT, IMAGE)]


def gradients(module: nn.Module) -> dict[str, Tensor]:
    named = ((name.removeprefix("module."), weight) for name, weight in module.named_parameters())
    return {name: weight.grad for name, weight in named if weight.grad is not None}


def shared(rank: int, folder: Path) -> dict[str, dict[str, Tensor]]:
    """Take a step of each case in one of two processes."""
    found = {}
    for case in CASES:
        module, batches = stepping(case, folder)
        wrapped = DistributedDataParallel(module)
        for _ in range(2):  # a step that does not end is noticed in the next
            wrapped.zero_grad()
            wrapped(batches[rank]).backward()
        found[case] = gradients(wrapped.module)
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> list[dict[str, dict[str, Tensor]]]:
    return in_processes(2, shared, tmp_path_factory.mktemp("two"), llava_folder())


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_two_processes_are_the_mean_of_both_batches(case, together):
    alone = []
    for place in range(2):
        module, batches = stepping(case, llava_folder())
        module(batches[place]).backward()
        alone.append(gradients(module))
    texts, images = alone
    assert images.keys() - texts.keys()  # what only images use
    for found in (one[case] for one in together):
        assert found.keys() >= images.keys()
        for name, gradient in found.items():
            expected = sum(one.get(name, torch.zeros_like(gradient)) for one in alone) / 2
            torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)

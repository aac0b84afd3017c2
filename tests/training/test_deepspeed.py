"""DeepSpeed's ZeRO-2 updates the weights by the gradients of one process; only where deepspeed is installed.

It needs no GPU: `pip install deepspeed` and DS_ACCELERATOR=cpu, which the test sets.
"""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.contrastive import contrastive_loss
from tests.encoders.small_mllm import llava_folder, nv_embed_folder
from tests.processes import in_processes
from tests.training import test_cached_step as cached

pytestmark = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
CASES = [(cuts, mix) for cuts in cached.CUTS for mix in cached.MIXES]


def under_zero_2(rank, *paths):
    os.environ.update(DS_ACCELERATOR="cpu", LOCAL_RANK=str(rank), RANK=str(rank), WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29533")  # asked for, though the processes are joined
    cached.PATHS.llava, cached.PATHS.nv_embed = paths
    return [one_step(rank, *case) for case in CASES]


def one_step(rank, cuts, mix):
    """What SGD with a rate of 1 took from each weight: its gradient."""
    import deepspeed

    encoder, _ = cached.build("LLaVA-E", None)
    step = cached.Step(encoder, InfoNCE(0.1))  # DeepSpeed takes no scalar, which a learned temperature is
    named = [(name, parameter) for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    before = {name: parameter.detach().clone() for name, parameter in named}
    trained = [parameter for _, parameter in named]
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 2, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,
        "gradient_clipping": 0.0,
    }
    optimizer = torch.optim.SGD(trained, lr=1.0)
    engine, *_ = deepspeed.initialize(
        model=step, model_parameters=trained, optimizer=optimizer, dist_init_required=False, config=settings
    )
    value = engine(cached.parts_of(encoder, cached.CUTS[cuts], mix)[rank], 60)
    engine.backward(value)
    engine.step()
    return value.item(), {name: before[name] - parameter.detach() for name, parameter in named}


def test_zero_2_takes_the_gradients_of_one_process(tmp_path):
    results = in_processes(2, under_zero_2, tmp_path, llava_folder(), nv_embed_folder())
    for place, (cuts, mix) in enumerate(CASES):
        encoder, _ = cached.build("LLaVA-E", None)
        contrastive_loss(encoder, InfoNCE(0.1), cached.joined(encoder, cached.CUTS[cuts], mix)).backward()
        expected = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.requires_grad}
        for process in results:
            assert cached.difference(process[place][1], expected) <= 1e-5, (cuts, mix)

"""What DeepSpeed and FSDP1 would get wrong is refused."""

from __future__ import annotations

import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.sharding import refuse_under_deepspeed, refuse_wrong_strategy


def test_a_cached_step_with_a_fixed_temperature_is_taken():
    refuse_under_deepspeed(InfoNCE(0.1), 1000)


def test_a_plain_step_is_refused():
    with pytest.raises(InputError, match=r"set model\.chunk_tokens"):
        refuse_under_deepspeed(InfoNCE(0.1), None)


def test_a_learned_temperature_is_refused():
    with pytest.raises(InputError, match="learn_temperature=false"):
        refuse_under_deepspeed(InfoNCE(0.1, learn_temperature=True), 1000)


def test_fsdp1_is_refused_and_fsdp2_is_not():
    refuse_wrong_strategy("Fsdp2", InfoNCE(0.1, learn_temperature=True), None)
    with pytest.raises(InputError, match=r"FSDP1.*fsdp2\.yaml"):
        refuse_wrong_strategy("FSDPStrategy", InfoNCE(0.1), 1000)

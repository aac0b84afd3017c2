"""A retriever on a multimodal LLM: its adapters, the checkpoint below them, its prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_mmembed import Retriever
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.pooling import LastTokenPooling
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.encoders.prompts import OneWordPrompts
from lit_mmembed.errors import InputError
from tests.encoders.initial_folders import checkpoint
from tests.test_retriever import ROWS, clip_sf, llava_e


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    save_encoder(llava_e(path), path / "model")
    return path / "model"


def test_a_placeholder_in_a_text_is_refused(adapter):
    with pytest.raises(InputError, match="row 1: the text spells <image>"):
        Retriever.from_pretrained(adapter).encode_queries(["a fox", "an <image> of a fox"])


def test_its_repr_names_model_backbone_dimension_dtype_and_device(adapter):
    assert repr(Retriever.from_pretrained(adapter)) == "Retriever(MllmEncoder(LlavaNextBackbone), 16, float32, cpu)"


def test_merging_changes_no_vector_and_needs_no_checkpoint(adapter, tmp_path):
    merged = Retriever.from_pretrained(adapter)
    before = merged.encode_candidates(ROWS)
    merged.merge().save_pretrained(tmp_path / "whole")
    torch.testing.assert_close(merged.encode_candidates(ROWS), before, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="leave `base` out"):
        Retriever.from_pretrained(tmp_path / "whole", base=tmp_path)
    (adapter.parent / "llava_next").rename(tmp_path / "moved")
    try:
        again = Retriever.from_pretrained(tmp_path / "whole").encode_candidates(ROWS)
    finally:
        (tmp_path / "moved").rename(adapter.parent / "llava_next")
    torch.testing.assert_close(again, before, atol=1e-5, rtol=0)


def test_merged_weights_in_half_precision_come_back(tmp_path):
    backbone = LlavaNextBackbone(checkpoint("llava_next", tmp_path), dtype="bfloat16")
    merged = Retriever(MllmEncoder(backbone, lora=Lora(r=2))).merge()
    merged.save_pretrained(tmp_path / "whole")
    again = Retriever.from_pretrained(tmp_path / "whole")
    assert torch.equal(again.encode_candidates(ROWS), merged.encode_candidates(ROWS))
    with pytest.raises(InputError, match="the weights are bfloat16, not float32"):
        Retriever.from_pretrained(tmp_path / "whole", dtype="float32")


def test_clip_has_nothing_to_merge(tmp_path):
    with pytest.raises(InputError, match="ClipFusion"):
        Retriever(clip_sf(tmp_path)).merge()


def test_an_adapter_whose_checkpoint_has_moved_is_told_where_it_is(adapter, tmp_path):
    before = Retriever.from_pretrained(adapter).encode_candidates(ROWS)
    moved = (adapter.parent / "llava_next").rename(tmp_path / "moved")
    try:
        with pytest.raises(InputError, match=r"its checkpoint is gone: path is .*`base`"):
            Retriever.from_pretrained(adapter)
        for base in (moved, str(moved), {"path": moved}):
            assert torch.equal(Retriever.from_pretrained(adapter, base=base).encode_candidates(ROWS), before)
    finally:
        moved.rename(adapter.parent / "llava_next")


def test_an_adapter_for_another_checkpoint_is_refused(adapter, tmp_path):
    other = checkpoint("llava_next", tmp_path, seed=9)
    with pytest.raises(InputError, match="other base weights"):
        Retriever.from_pretrained(adapter, base=other)
    with pytest.raises(InputError, match="mapping with path"):
        Retriever.from_pretrained(adapter, base={"llava": other})


def test_the_task_chooses_the_prompt_of_one_word_models(tmp_path):
    backbone = LlavaNextBackbone(checkpoint("llava_next", tmp_path))
    retriever = Retriever(MllmEncoder(backbone, pooling=LastTokenPooling(), prompts=OneWordPrompts()))
    plain, of_task = (
        retriever.encode_queries(["a fox"], instruction="Find it", task=t) for t in (None, "mscoco_task0")
    )
    assert not torch.allclose(plain, of_task)

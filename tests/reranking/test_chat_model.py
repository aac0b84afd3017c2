"""Other chat models through transformers' own classes: here the small LLaVA-Next."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.reranking.chat_model import ChatModelReranker
from lit_mmembed.reranking.loading import load_reranker
from tests.encoders.small_mllm import llava_folder
from tests.encoders.test_llava_next import processor
from tests.reranking.world import every_task, reranker


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small LLaVA-Next with a processor that knows its patches."""
    made = tmp_path_factory.mktemp("chat") / "llava"
    shutil.copytree(llava_folder(), made)
    processor().save_pretrained(made)
    return made


def test_the_general_path_answers_as_the_fast_one_does_with_tiles(folder):
    general, fast = ChatModelReranker(folder, template="llava_mistral").eval(), reranker("bytes", True, "llava_mistral")
    general.processor.image_processor = processor().image_processor  # Pillow's: its torchvision twin rounds otherwise
    assert general.answers == fast.answers
    for questions in every_task(2)[::3]:
        theirs = general.margins([general.prepare(questions)])[0]
        ours = fast.margins([fast.prepare(questions)])[0]
        np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)


def test_what_is_no_chat_model_is_refused_in_a_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="is no chat model of transformers"):
        load_reranker(tmp_path, template="none", dtype="float32")

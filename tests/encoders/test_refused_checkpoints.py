"""Configurations, tokenizers and processors that do not fit a LLaVA-Next: each is refused in one line."""

from __future__ import annotations

import pytest
import torch

from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from tests.encoders.small_mllm import copied, llava_folder, nv_embed_folder, tensors_of, write_tensors
from tests.encoders.test_checkpoints import edit, refused


@pytest.fixture
def llava(tmp_path):
    return copied(llava_folder(), tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: c.update(model_type="llava"), "is of the architecture 'llava', not llava_next"),
        (lambda c: c.pop("text_config"), "config.json has no text_config"),
        (lambda c: c.pop("vision_config"), "config.json has no vision_config"),
        (lambda c: c.update(vision_feature_layer=[-2, -5]), "mixes the vision layers [-2, -5]"),
        (lambda c: c.update(vision_feature_select_strategy="full"), "keeps the class token"),
        (lambda c: c.update(image_token_index=5), "the tokenizer's <image> is "),
        (lambda c: c["text_config"].update(sliding_window=16), "attends within 16 tokens"),
        (lambda c: c["text_config"].update(num_hidden_layers=3), "lacks language_model.layers.2.input_layernorm"),
        (lambda c: c["text_config"].update(num_hidden_layers=1), "the model has not: language_model.layers.1."),
        (lambda c: c["vision_config"].update(image_size=64), "the processor makes images of 32, the model takes 64"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(llava, change, problem):
    edit(llava, "config.json", change)
    if "processor makes" in problem:
        tensors = tensors_of(llava)
        name = next(n for n in tensors if n.endswith("position_embedding.weight"))
        write_tensors(llava, {**tensors, name: torch.zeros(65, 32)})
    assert problem in refused(llava)


def test_a_tokenizer_without_the_image_token_is_refused(llava):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (llava / file).write_bytes((nv_embed_folder() / file).read_bytes())
    assert "the tokenizer has no token <image>" in refused(llava)


def test_a_folder_without_tokenizer_or_processor_is_refused(llava):
    (llava / "tokenizer.json").unlink()
    assert "no tokenizer: " in refused(llava)
    (llava / "tokenizer.json").write_bytes((llava_folder() / "tokenizer.json").read_bytes())
    (llava / "preprocessor_config.json").unlink()
    (llava / "processor_config.json").unlink(missing_ok=True)
    assert "has no preprocessor_config.json" in refused(llava)


def test_a_processor_of_another_size_or_of_other_tiles_is_refused(llava):
    edit(llava, "preprocessor_config.json", lambda c: c.update(crop_size={"height": 64, "width": 64}))
    assert "the processor makes images of 64, the model takes 32" in refused(llava)
    side = {"height": 32, "width": 32}
    edit(llava, "preprocessor_config.json", lambda c: c.update(crop_size=side, image_grid_pinpoints=[[32, 32]]))
    LlavaNextBackbone(llava)
    assert "the processor cuts images into [[32, 32]]" in refused(llava, any_resolution=True)

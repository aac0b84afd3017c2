"""Checkpoints of other projects: every weight finds its place, or the one that does not is named."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from lit_mmembed.encoders.checkpoints import (
    Checkpoint,
    canonical,
    load_prefixed,
    load_strictly,
    local_folder,
    with_own_rules,
)
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm_backbone import fast_tokenizer
from lit_mmembed.encoders.nv_embed import NvEmbedLlavaBackbone
from lit_mmembed.errors import InputError
from tests.encoders.small_mllm import copied, llava_folder, mm_embed_folder, nv_embed_folder, tensors_of, write_tensors


@pytest.fixture
def llava(tmp_path):
    return copied(llava_folder(), tmp_path)


def weights_of(backbone):
    return {canonical(name): tensor for name, tensor in backbone.state_dict().items()}


def edit(folder, name, change):
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def refused(folder, **arguments):
    """Return the one line that a folder is refused with."""
    with pytest.raises(InputError) as error:
        LlavaNextBackbone(folder, **arguments)
    line = str(error.value)
    assert str(folder) in line and "(fix: " in line and "\n" not in line
    return line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.language_model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("language_model.model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("language_model.layers.0.mlp.up_proj.weight", "language_model.layers.0.mlp.up_proj.weight"),
        ("language_model.lm_head.weight", "lm_head.weight"),
        ("model.vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("vision_tower.vision_model.pre_layrnorm.bias", "vision_tower.pre_layrnorm.bias"),
        ("model.image_newline", "image_newline"),
        ("embedding_model.model.norm.weight", "embedding_model.norm.weight"),
    ],
)
def test_every_spelling_of_a_name_is_the_same_weight(name, expected):
    assert canonical(name) == expected == canonical(expected)


def test_names_of_older_and_newer_releases_load_alike(llava):
    expected = weights_of(LlavaNextBackbone(llava))
    tensors = {canonical(name): tensor for name, tensor in tensors_of(llava).items()}
    older = {
        name.replace("language_model.", "language_model.model.").replace(
            "vision_tower.", "vision_tower.vision_model."
        ): w
        for name, w in tensors.items()
    }
    newer = {name if name.startswith("lm_head") else f"model.{name}": w for name, w in tensors.items()}
    for names in (tensors, older, newer):
        write_tensors(llava, names)
        made = weights_of(LlavaNextBackbone(llava))
        assert made.keys() == expected.keys() and all(torch.equal(made[name], expected[name]) for name in made)


def test_constants_of_older_files_are_no_weights(llava):
    more = {
        "language_model.model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4),
        "vision_tower.vision_model.embeddings.position_ids": torch.zeros(17),
    }
    write_tensors(llava, {**tensors_of(llava), **more})
    LlavaNextBackbone(llava)


def test_weights_in_several_files_are_found_by_the_index(llava):
    expected = weights_of(LlavaNextBackbone(llava))
    split_into_two(llava)
    made = weights_of(LlavaNextBackbone(llava))
    assert all(torch.equal(made[name], expected[name]) for name in expected)


def split_into_two(folder):
    from safetensors.torch import save_file

    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    halves = {"model-1.safetensors": sorted(tensors)[::2], "model-2.safetensors": sorted(tensors)[1::2]}
    for file, names in halves.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    index = {"weight_map": {name: file for file, names in halves.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_file_that_the_index_names_and_that_is_not_there_is_named(llava):
    split_into_two(llava)
    (llava / "model-2.safetensors").unlink()
    assert "model-2.safetensors: does not exist, and the index names it" in refused(llava)


def test_a_weight_that_the_index_names_and_its_file_has_not_is_an_error(llava):
    split_into_two(llava)
    place = json.loads((llava / "model.safetensors.index.json").read_text())["weight_map"]
    name = next(name for name, file in place.items() if file == "model-1.safetensors")
    edit(llava, "model.safetensors.index.json", lambda c: c["weight_map"].update({name: "model-2.safetensors"}))
    assert "model-2.safetensors: is damaged: " in refused(llava) and name in refused(llava)


def test_two_spellings_of_one_weight_are_an_error(llava):
    tensors = {canonical(name): tensor for name, tensor in tensors_of(llava).items()}
    write_tensors(llava, {**tensors, "model.image_newline": torch.zeros(32)})
    assert "which are one weight" in refused(llava)


def test_an_index_without_a_map_is_an_error(llava):
    (llava / "model.safetensors.index.json").write_text("{}")
    assert "has no weight_map" in refused(llava)


def test_missing_weights_are_named_three_and_the_rest_counted(llava):
    kept = {name: w for name, w in tensors_of(llava).items() if "multi_modal_projector" not in name}
    write_tensors(llava, kept)
    line = refused(llava)
    assert "lacks multi_modal_projector.linear_1.bias, multi_modal_projector.linear_1.weight, " in line
    assert "and 1 more" in line


def test_weights_that_are_left_over_are_named(llava):
    write_tensors(llava, {**tensors_of(llava), "model.language_model.layers.7.more": torch.zeros(2)})
    assert "has weights that the model has not: language_model.layers.7.more" in refused(llava)


def test_a_weight_of_another_shape_is_named_with_both_shapes(llava):
    tensors = tensors_of(llava)
    name = next(n for n in tensors if n.endswith("image_newline"))
    write_tensors(llava, {**tensors, name: torch.zeros(5)})
    assert f"{name} is [5], the model has [32]" in refused(llava)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_file_is_named(llava, damage):
    file = llava / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "garbage": b"x" * 500, "empty": b""}[damage])
    assert f"{file}: is damaged: " in refused(llava)


def test_a_folder_without_weights_is_an_error(llava):
    (llava / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(llava)


@pytest.mark.parametrize(
    ("source", "problem"),
    [("/absent/folder", "does not exist"), ("no such/name/at all", "does not exist")],
)
def test_a_checkpoint_that_is_nowhere_is_an_error(source, problem):
    with pytest.raises(InputError, match=f"{source}: {problem}"):
        local_folder(source)


def test_a_name_that_cannot_be_downloaded_is_an_error(monkeypatch):
    import huggingface_hub

    def offline(*arguments, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(InputError, match=r"some/name: can't be downloaded: no network \(fix: give a local folder"):
        local_folder("some/name")


def test_nothing_of_the_replaced_language_model_is_asked_for(tmp_path):
    llava = copied(llava_folder(), tmp_path)
    kept = {n: w for n, w in tensors_of(llava).items() if "language_model" not in n and "lm_head" not in n}
    write_tensors(llava, kept)
    made = NvEmbedLlavaBackbone(llava, nv_embed_folder())
    assert torch.equal(made.language_model.norm.weight, tensors_of(nv_embed_folder())["embedding_model.norm.weight"])
    write_tensors(llava, {n: w for n, w in kept.items() if "image_newline" not in n})
    with pytest.raises(InputError, match="lacks image_newline"):
        NvEmbedLlavaBackbone(llava, nv_embed_folder())


def test_mm_embeds_own_text_config_does_not_fit_its_weights():
    folder = mm_embed_folder()
    with pytest.raises(InputError, match=r"language_model.embed_tokens.weight is \[\d+, 32\], the model has"):
        NvEmbedLlavaBackbone(folder, folder, released=folder)


def test_loading_copies_into_the_dtype_of_the_module(tmp_path):
    write_tensors(tmp_path, {"weight": torch.full((2, 3), 0.5), "bias": torch.ones(2)})
    module = nn.Linear(3, 2).to(torch.bfloat16)
    load_strictly(module, tmp_path)
    assert module.weight.dtype == torch.bfloat16 and module.weight.tolist() == [[0.5] * 3] * 2
    write_tensors(tmp_path, {"a.weight": torch.zeros(2, 3), "a.bias": torch.zeros(2), "b.other": torch.ones(1)})
    load_prefixed(module, tmp_path, prefix="a.")
    assert not module.weight.any()
    assert set(Checkpoint(tmp_path).names()) == {"a.weight", "a.bias", "b.other"}


@pytest.mark.parametrize("legacy", [True, False, None])
def test_a_tokenizer_keeps_the_rules_of_its_own_file_whatever_its_class_would_make_of_it(tmp_path, legacy):
    from tokenizers import Tokenizer

    folder = copied(llava_folder("pieces"), tmp_path)
    edit(folder, "tokenizer_config.json", lambda c: c.update(tokenizer_class="LlamaTokenizer", legacy=legacy))
    if legacy is None:
        edit(folder, "tokenizer_config.json", lambda c: c.pop("legacy"))
    made = with_own_rules(fast_tokenizer(folder), folder)
    shipped = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("Query: <image>\ntwo cats", "<image>\na red fox", " a fox", "a fox", "<image> fox", "two\n\ncats é"):
        assert made.backend_tokenizer.encode(text).ids == shipped.encode(text).ids
        assert made.tokenize(text) == shipped.encode(text, add_special_tokens=False).tokens

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from lit_mmembed.encoders.clip_fusion import ClipFusion
from lit_mmembed.encoders.hf_clip import HfClipBackbone
from lit_mmembed.encoders.initial import write_initial
from lit_mmembed.encoders.pooling import LatentAttentionPooling
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.encoders.tokenizer import padded
from lit_mmembed.errors import InputError
from tests.encoders.initial_folders import TEXT, VISION, checkpoint, config_of, tokenizer_folder
from tests.encoders.small import TEXTS, jpeg


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_llava_loads_in_transformers_with_no_weight_missing_or_left_over(tmp_path):
    from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

    folder = checkpoint("llava_next", tmp_path)
    model, found = LlavaNextForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.lm_head.weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<image>")
    assert model.config.text_config.vocab_size == len(tokenizer)
    assert model.config.text_config.eos_token_id == tokenizer.eos_token_id
    assert json.loads((folder / "preprocessor_config.json").read_text())["image_grid_pinpoints"] == [[16, 16]]


def test_a_clip_loads_in_transformers_and_is_pooled_at_the_end_token(tmp_path):
    from transformers import CLIPModel

    folder = checkpoint("clip", tmp_path)
    model, found = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    backbone = HfClipBackbone(folder).eval()
    ids = backbone.tokenizer(TEXTS)
    with torch.no_grad():
        together = backbone.encode_text(padded(ids, backbone.tokenizer.pad_id))
        for row, one in zip(together, ids, strict=True):
            hidden = model.eval().text_model(input_ids=torch.tensor([one])).last_hidden_state[0, -1]
            torch.testing.assert_close(row, model.text_projection(hidden), atol=1e-5, rtol=1e-4)


def test_an_nv_embed_has_the_released_names_and_loads_part_by_part(tmp_path):
    from transformers import MistralConfig, MistralModel

    folder = checkpoint("nv_embed", tmp_path)
    config, found = json.loads((folder / "config.json").read_text()), weights(folder)
    body = MistralModel(MistralConfig(**config["text_config"]))
    pooling = LatentAttentionPooling(16, latents=3, heads=2, head_width=8)
    expected = {f"embedding_model.{name}" for name in body.state_dict()}
    expected |= {f"latent_attention_model.{name}" for name in pooling.state_dict()}
    assert set(found) == expected
    assert "latent_attention_model.cross_attend_blocks.0.fn.to_kv.weight" in found
    assert config["latent_attention_config"]["num_latents_value"] == len(found["latent_attention_model.latents"])


@pytest.mark.parametrize("kind", ["clip", "llava_next", "nv_embed"])
def test_weights_are_those_of_the_seed_alone(tmp_path, kind):
    first = checkpoint(kind, tmp_path, "a", seed=5)
    torch.rand(7)
    before = torch.get_rng_state()
    again, other = checkpoint(kind, tmp_path, "b", seed=5), checkpoint(kind, tmp_path, "c", seed=6)
    assert torch.equal(before, torch.get_rng_state())
    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (first / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_a_llava_takes_the_vision_tower_of_a_trained_clip_fusion(tmp_path):
    encoder = ClipFusion(HfClipBackbone(checkpoint("clip", tmp_path, seed=9)))
    save_encoder(encoder, tmp_path / "trained")
    taken = weights(checkpoint("llava_next", tmp_path, "taken", vision=tmp_path / "trained"))
    drawn = weights(checkpoint("llava_next", tmp_path, "drawn"))
    tower = {name: w for name, w in taken.items() if name.startswith("vision_tower")}
    for name, tensor in encoder.backbone.model.vision_model.state_dict().items():
        (same,) = (w for own, w in tower.items() if own.endswith(f".{name}"))
        assert torch.equal(same, tensor), name
    others = taken.keys() - tower.keys()
    assert all(torch.equal(taken[name], drawn[name]) for name in others)


def test_the_language_model_of_a_llava_becomes_nv_embeds_and_comes_back(tmp_path):
    llava = checkpoint("llava_next", tmp_path, "llava", seed=1)
    nv_embed = checkpoint("nv_embed", tmp_path, "nv_embed", seed=2, language=llava)
    body = {name.removeprefix("embedding_model."): w for name, w in weights(nv_embed).items() if "embedding" in name}
    back = weights(checkpoint("llava_next", tmp_path, "back", seed=3, language=nv_embed))
    for name, tensor in body.items():
        assert torch.equal(weights(llava)[f"language_model.model.{name}"], tensor)
        assert torch.equal(back[f"language_model.model.{name}"], tensor)
    heads = [weights(folder)["language_model.lm_head.weight"] for folder in (llava, tmp_path / "back")]
    assert not torch.equal(*heads)  # an NV-Embed has none to give
    again = weights(checkpoint("llava_next", tmp_path, "again", seed=3, language=llava))
    assert torch.equal(again["language_model.lm_head.weight"], heads[0])


def test_an_nv_embed_takes_the_latent_attention_too(tmp_path):
    first = checkpoint("nv_embed", tmp_path, "first", seed=1)
    second = checkpoint("nv_embed", tmp_path, "second", seed=2, language=first)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


def test_a_part_of_another_size_is_an_error_that_names_it(tmp_path):
    checkpoint("clip", tmp_path)
    small = config_of("llava_next", tmp_path, vision_config={**VISION, "hidden_size": 8})
    with pytest.raises(InputError, match="does not fit the configuration") as raised:
        write_initial(
            "llava_next",
            config=small,
            tokenizer=tokenizer_folder(tmp_path),
            out=tmp_path / "out",
            vision=tmp_path / "clip",
        )
    assert str(tmp_path / "clip") in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layers", [1, 3])
def test_a_part_of_another_depth_is_an_error(tmp_path, layers):
    checkpoint("nv_embed", tmp_path, "two_layers")
    deep = config_of("nv_embed", tmp_path, text_config={**TEXT, "num_hidden_layers": layers})
    with pytest.raises(InputError, match="does not fit the configuration"):
        write_initial(
            "nv_embed",
            config=deep,
            tokenizer=tokenizer_folder(tmp_path),
            out=tmp_path / "out",
            language=tmp_path / "two_layers",
        )


def test_a_configuration_without_a_block_is_an_error(tmp_path):
    file = tmp_path / "empty.json"
    file.write_text('{"text_config": {}}')
    with pytest.raises(InputError, match="lacks the block 'latent_attention_config'"):
        write_initial("nv_embed", config=file, tokenizer=tokenizer_folder(tmp_path), out=tmp_path / "out")


def test_a_model_without_the_part_is_an_error(tmp_path):
    nv_embed = checkpoint("nv_embed", tmp_path)
    with pytest.raises(InputError, match=r"has 0 weights named \*embeddings.class_embedding"):
        checkpoint("llava_next", tmp_path, vision=nv_embed)
    with pytest.raises(InputError, match="holds no"):
        checkpoint("llava_next", tmp_path, language=tmp_path)


def test_pictures_and_texts_go_through_a_random_clip(tmp_path):
    from lit_mmembed.types import EncoderRow, Side

    encoder = ClipFusion(HfClipBackbone(checkpoint("clip", tmp_path))).eval()
    rows = [EncoderRow("a red fox", None, Side.QUERY), EncoderRow(None, jpeg(1), Side.CANDIDATE)]
    with torch.no_grad():
        vectors = encoder(encoder.preprocess(rows))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))

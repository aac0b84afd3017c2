from __future__ import annotations

import pytest
import torch

from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
from lit_mmembed.encoders.tokenizer import padded
from lit_mmembed.errors import InputError
from tests.encoders.small import SMALL, TEXTS, config_file, openai_like, own_small, own_small_with_stem, tokenizer_file


@pytest.mark.parametrize("build", [own_small, own_small_with_stem, openai_like])
@torch.no_grad()
def test_short_padding_and_the_shortened_last_block_change_no_vector(build, tmp_path):
    backbone = build(tmp_path).backbone.eval()
    ids = backbone.tokenizer(TEXTS)
    full = backbone.model.encode_text(padded(ids, backbone.tokenizer.pad_id, backbone.tokenizer.context_length))
    for width in (None, 24):
        short = backbone.encode_text(padded(ids, backbone.tokenizer.pad_id, width))
        torch.testing.assert_close(short, full, atol=1e-5, rtol=1e-5)
    pixels = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(backbone.encode_image(pixels), backbone.model.encode_image(pixels), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_whole_towers(tmp_path):
    backbone = own_small(tmp_path).backbone
    tokens, pixels = padded(backbone.tokenizer(TEXTS), 0, 24), torch.randn(3, 3, 32, 32)
    (backbone.model.encode_text(tokens).sum() + backbone.model.encode_image(pixels).sum()).backward()
    whole = {name: p.grad.clone() for name, p in backbone.named_parameters() if p.requires_grad}
    backbone.zero_grad()
    (backbone.encode_text(tokens).sum() + backbone.encode_image(pixels).sum()).backward()
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, whole[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("pool", ["avg", "none-causal"])
@torch.no_grad()
def test_a_tower_that_pools_otherwise_is_run_whole(pool, tmp_path):
    vision, text = dict(SMALL["vision_cfg"]), dict(SMALL["text_cfg"])
    if pool == "avg":
        vision["pool_type"] = "avg"
    else:
        text["no_causal_mask"] = True
    backbone = OpenClipBackbone(
        config=config_file(tmp_path, vision_cfg=vision, text_cfg=text), tokenizer=tokenizer_file(tmp_path)
    ).eval()
    assert backbone.tokenizer.fixed_length == (pool != "avg")
    pixels = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone.encode_image(pixels), backbone.model.encode_image(pixels), atol=1e-5, rtol=1e-5)


def test_a_released_architecture_is_built_by_name_and_loads_a_local_checkpoint(tmp_path):
    import open_clip

    torch.manual_seed(5)
    donor = open_clip.create_model("ViT-S-32")
    torch.save(donor.state_dict(), tmp_path / "weights.pt")
    backbone = OpenClipBackbone("ViT-S-32", str(tmp_path / "weights.pt")).eval()
    tokens = open_clip.get_tokenizer("ViT-S-32")(TEXTS[:2])
    with torch.no_grad():
        torch.testing.assert_close(backbone.encode_text(tokens), donor.eval().encode_text(tokens), atol=1e-5, rtol=1e-4)
    assert backbone.images.size == 224 and backbone.patches == 49


def test_openais_weights_come_with_openais_activation(monkeypatch):
    from lit_mmembed.encoders import open_clip_backbone

    config = open_clip_backbone._resolve("ViT-L-14", "openai", None)
    assert config["quick_gelu"] is True
    assert not open_clip_backbone._resolve("ViT-L-14", "laion2b_s32b_b82k", None).get("quick_gelu", False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either an architecture or a config"),
        ({"architecture": "ViT-Z-99"}, "no architecture 'ViT-Z-99'"),
        ({"architecture": "ViT-S-32", "pretrained": "nobody"}, "no pretrained tag of ViT-S-32"),
    ],
)
def test_a_wrong_name_is_an_error(arguments, message):
    with pytest.raises(InputError, match=message):
        OpenClipBackbone(**arguments)


def test_a_wrong_config_is_an_error(tmp_path):
    tokenizer = tokenizer_file(tmp_path)
    with pytest.raises(InputError, match=r"strides make 4, the patch size is 8"):
        OpenClipBackbone(config=config_file(tmp_path, stem=[[8, 4]]), tokenizer=tokenizer)
    with pytest.raises(InputError, match="tokens, the model's vocab_size is 100"):
        text = {**SMALL["text_cfg"], "vocab_size": 100}
        OpenClipBackbone(config=config_file(tmp_path, text_cfg=text), tokenizer=tokenizer)
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(InputError, match=r"empty.json.*lacks embed_dim, text_cfg, vision_cfg"):
        OpenClipBackbone(config=tmp_path / "empty.json")

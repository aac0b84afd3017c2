from __future__ import annotations

import pytest
import torch

from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.encoders.uniir import load_uniir
from lit_mmembed.errors import InputError
from tests.encoders.small import openai_like, own_small


def uniir_file(folder, encoder, **changes):
    """What UniIR writes: half of it is not weights, and its config is an OmegaConf object."""
    from omegaconf import OmegaConf

    weights = {f"clip_model.{name}": tensor.clone() for name, tensor in encoder.backbone.model.state_dict().items()}
    weights.update(changes)
    content = {
        "model": {name: tensor for name, tensor in weights.items() if tensor is not None},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-5, "betas": (0.9, 0.98)}]},
        "scheduler": {"last_epoch": 3},
        "epoch": 19,
        "config": OmegaConf.create({"model": {"name": "CLIPScoreFusion", "sizes": [1, 2.5]}, "seed": None, "a": True}),
        "scaler": {"scale": 65536.0},
    }
    torch.save(content, folder / "clip_sf.pth")
    return folder / "clip_sf.pth"


@pytest.fixture
def donor(tmp_path):
    torch.manual_seed(1)
    return openai_like(tmp_path)


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(2)
    return openai_like(tmp_path)


def test_a_uniir_checkpoint_gives_the_encoder_that_was_saved(donor, encoder, tmp_path):
    assert weights_hash(donor) != weights_hash(encoder)
    load_uniir(encoder, uniir_file(tmp_path, donor))
    assert weights_hash(donor) == weights_hash(encoder)


def test_half_precision_weights_are_widened(donor, encoder, tmp_path):
    half = {f"clip_model.{name}": tensor.half() for name, tensor in donor.backbone.model.state_dict().items()}
    load_uniir(encoder, uniir_file(tmp_path, donor, **half))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_a_weight_that_is_missing_or_left_over_is_an_error(donor, encoder, tmp_path):
    with pytest.raises(InputError, match=r"lacks visual.proj"):
        load_uniir(encoder, uniir_file(tmp_path, donor, **{"clip_model.visual.proj": None}))
    with pytest.raises(InputError, match=r"this encoder has not: visual.more"):
        load_uniir(encoder, uniir_file(tmp_path, donor, **{"clip_model.visual.more": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"not CLIP_SF's: t5.weight"):
        load_uniir(encoder, uniir_file(tmp_path, donor, **{"t5.weight": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"other shapes: visual.proj"):
        load_uniir(encoder, uniir_file(tmp_path, donor, **{"clip_model.visual.proj": torch.zeros(2, 2)}))


def test_an_encoder_with_plain_gelu_is_refused(donor, tmp_path):
    with pytest.raises(InputError, match="QuickGELU"):
        load_uniir(own_small(tmp_path), uniir_file(tmp_path, donor))


def test_a_file_that_is_no_checkpoint_is_an_error_and_is_not_executed(encoder, tmp_path):
    import pickle

    with pytest.raises(InputError, match="does not exist"):
        load_uniir(encoder, tmp_path / "none.pth")
    (tmp_path / "junk.pth").write_bytes(b"junk")
    with pytest.raises(InputError, match="no readable checkpoint"):
        load_uniir(encoder, tmp_path / "junk.pth")

    class Evil:
        def __reduce__(self):
            return exec, ("raise SystemExit('executed')",)

    torch.save({"model": {}, "config": Evil()}, tmp_path / "evil.pth", pickle_module=pickle)
    with pytest.raises(InputError, match="no readable checkpoint"):
        load_uniir(encoder, tmp_path / "evil.pth")
    torch.save({"weights": {}}, tmp_path / "other.pth")
    with pytest.raises(InputError, match='no weights under "model"'):
        load_uniir(encoder, tmp_path / "other.pth")


def test_convert_makes_a_model_folder_of_a_checkpoint(donor, tmp_path):
    from lit_mmembed.encoders.pretrained import load_encoder
    from tests.tiny import done, mmembed

    checkpoint = uniir_file(tmp_path, donor)
    donor.init_args(tmp_path)
    where = ["--config", tmp_path / "open_clip.json", "--out", tmp_path / "model"]
    done("convert", "--uniir", checkpoint, *where)
    assert weights_hash(load_encoder(tmp_path / "model")) == weights_hash(donor)
    refused = mmembed("convert", "--uniir", tmp_path / "open_clip.json", "--out", tmp_path / "other", *where[:2])
    assert refused.status == 2
    assert "no readable checkpoint" in refused.err

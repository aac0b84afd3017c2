from __future__ import annotations

import json

import pytest
import torch

from lit_mmembed.encoders.pretrained import load_encoder, load_weights, save_encoder, weights_hash
from lit_mmembed.errors import InputError
from tests.encoders.small import own_small, own_small_with_stem


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_encoder(own_small(tmp_path), tmp_path / "model")
    return tmp_path / "model"


def change_description(folder, **changes):
    path = folder / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_folder_is_complete_by_itself(folder, tmp_path):
    moved = folder.rename(tmp_path / "elsewhere")
    (tmp_path / "small.json").unlink()
    (tmp_path / "own_tokenizer.json").unlink()
    assert str(tmp_path) not in (moved / "encoder.json").read_text()
    assert load_encoder(moved).dimension == 16


def test_loading_draws_nothing_from_the_global_generator(folder):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    load_encoder(folder)
    assert torch.equal(torch.rand(1), expected)


def test_loading_weights_into_an_encoder_of_the_same_shape(folder, tmp_path):
    torch.manual_seed(9)
    other = own_small(tmp_path)
    load_weights(other, folder)
    assert weights_hash(other) == json.loads((folder / "encoder.json").read_text())["weights_hash"]


def test_the_hash_sees_names_shapes_types_and_values():
    def hashed(**tensors):
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return weights_hash(module)

    ones = torch.ones(2, 3)
    variants = [
        hashed(a=ones),
        hashed(b=ones),
        hashed(a=ones.view(3, 2)),
        hashed(a=ones.to(torch.bfloat16)),
        hashed(a=ones * 2),
        hashed(a=ones, b=torch.tensor(1.0)),
    ]
    assert len(set(variants)) == len(variants)
    assert hashed(a=torch.arange(6.0).view(2, 3).T) == hashed(a=torch.arange(6.0).view(2, 3).T.contiguous())


def test_a_class_outside_the_allowed_packages_is_not_built(folder):
    change_description(folder, class_path="subprocess.Popen", init_args={"args": ["true"]})
    with pytest.raises(InputError, match=r"subprocess.Popen, which is outside lit_mmembed"):
        load_encoder(folder)


def test_a_nested_class_outside_the_allowed_packages_is_not_built(folder):
    change_description(folder, init_args={"backbone": {"class_path": "builtins.dict", "init_args": {}}})
    with pytest.raises(InputError, match=r"builtins.dict, which is outside"):
        load_encoder(folder)


def test_an_own_package_can_be_allowed(folder):
    change_description(folder, class_path="torch.nn.Linear", init_args={"in_features": 2, "out_features": 2})
    with pytest.raises(InputError, match="does not fit this encoder"):
        load_encoder(folder, allow=("torch.nn.",))


def test_damaged_missing_or_foreign_weights_are_an_error(folder, tmp_path):
    with pytest.raises(InputError, match="does not fit this encoder"):
        load_weights(own_small_with_stem(tmp_path), folder)
    change_description(folder, weights_hash="0" * 64)
    with pytest.raises(InputError, match=r"weights.safetensors.*not what encoder.json"):
        load_encoder(folder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"weights.safetensors.*damaged"):
        load_encoder(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"weights.safetensors.*does not exist"):
        load_encoder(folder)
    with pytest.raises(InputError, match=r"encoder.json.*does not exist"):
        load_encoder(tmp_path / "nowhere")


def test_saving_again_replaces_the_folder(folder, tmp_path):
    (folder / "stale.txt").write_text("old")
    torch.manual_seed(1)
    save_encoder(own_small(tmp_path), folder)
    assert not (folder / "stale.txt").exists()
    load_encoder(folder)

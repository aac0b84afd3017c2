"""`mmembed convert` and `mmembed merge` by the command line, on small checkpoints in the released layouts."""

from __future__ import annotations

import pytest
import torch

from lit_mmembed.__main__ import main
from lit_mmembed.encoders import released
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedBackbone, NvEmbedLlavaBackbone
from lit_mmembed.encoders.pooling import LastTokenPooling, LatentAttentionPooling
from lit_mmembed.encoders.pretrained import load_encoder, save_encoder
from lit_mmembed.encoders.prompts import EosPrompts, OneWordPrompts, ZeroShotPrompts
from lit_mmembed.files import read_json
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import mixed_rows
from tests.encoders.small_mllm import (
    POOLING,
    any_resolution,
    copied,
    llava_e,
    llava_folder,
    llava_p,
    mm_embed_folder,
    nv_embed_folder,
    nv_embed_llava,
    nv_embed_text,
    tensors_of,
    write_tensors,
)
from tests.encoders.test_nv_embed import ROWS, naive_mm_embed

TEXTS = [EncoderRow(text, None, Side.QUERY, "Find it") for text in ("a red fox", "two cats on a mat", "flags")]


def done(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def said(capsys, *arguments):
    """Return the line that a command ends with."""
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err.strip()


@torch.no_grad()
def vectors(encoder, rows):
    return encoder.eval()(encoder.preprocess(rows))


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_mm_embed_becomes_a_model_folder_with_its_own_vectors(tmp_path):
    out = tmp_path / "model"
    done("convert", "--mm-embed", mm_embed_folder(), "--nv-embed", nv_embed_folder(), "--out", out)
    same(vectors(load_encoder(out), ROWS), torch.stack([naive_mm_embed(row, "bytes") for row in ROWS]))
    arguments = read_json(out / "encoder.json")["init_args"]
    assert (arguments["query_length"], arguments["candidate_length"]) == (4096, 4096)
    assert arguments["instruction_mask"] == "mm_embed" and arguments["attention"] == "bidirectional"
    assert read_json(out / "record.json")["source"] == "MM-Embed"


def test_nv_embeds_configuration_may_lie_in_mm_embeds_folder(tmp_path):
    folder = copied(mm_embed_folder(), tmp_path)
    copied(nv_embed_folder(), tmp_path).rename(folder / "retriever")
    done("convert", "--mm-embed", folder, "--out", tmp_path / "model")
    same(vectors(load_encoder(tmp_path / "model"), ROWS), torch.stack([naive_mm_embed(row, "bytes") for row in ROWS]))


def test_a_converted_folder_needs_nothing_but_itself(tmp_path):
    llava, out = copied(llava_folder(), tmp_path), tmp_path / "model"
    done("convert", "--llava", llava, "--style", "eos", "--out", out)
    before = vectors(load_encoder(out), ROWS)
    llava.rename(tmp_path / "elsewhere")
    assert torch.equal(vectors(load_encoder(out), ROWS), before)


def test_nv_embed_becomes_a_model_folder(tmp_path):
    done("convert", "--nv-embed", nv_embed_folder(), "--out", tmp_path / "model")
    plain = MllmEncoder(
        NvEmbedBackbone(nv_embed_folder()),
        pooling=LatentAttentionPooling(**POOLING, checkpoint=nv_embed_folder()),
        attention="bidirectional",
        prompts=EosPrompts(query="Instruct: {instruction}\nQuery: {text}"),
        instruction_mask="nv_embed",
    )
    same(vectors(load_encoder(tmp_path / "model"), TEXTS), vectors(plain, TEXTS))


@pytest.mark.parametrize(
    ("style", "prompts", "pooling"),
    [("eos", EosPrompts, None), ("one_word", OneWordPrompts, "last"), ("zero_shot", ZeroShotPrompts, "last")],
)
def test_a_llava_next_that_was_not_fine_tuned_becomes_a_model_folder(tmp_path, style, prompts, pooling):
    done("convert", "--llava", llava_folder(), "--style", style, "--dtype", "float32", "--out", tmp_path / "model")
    plain = MllmEncoder(
        LlavaNextBackbone(llava_folder()), prompts=prompts(), pooling=LastTokenPooling() if pooling else None
    )
    same(vectors(load_encoder(tmp_path / "model"), ROWS), vectors(plain, ROWS))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_kept_whole(tmp_path, dtype):
    flags = ("--mm-embed", mm_embed_folder(), "--nv-embed", nv_embed_folder(), "--dtype", dtype)
    done("convert", *flags, "--out", tmp_path / "model")
    backbone = load_encoder(tmp_path / "model").backbone
    assert {parameter.dtype for parameter in backbone.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ((), "takes one checkpoint, not 0"),
        (("--llava", "a", "--nv-embed", "b"), "takes one checkpoint, not 2"),
        (("--llava", "a"), "--llava` needs --style"),
        (("--nv-embed", "/absent/folder"), "/absent/folder: does not exist"),
    ],
)
def test_flags_that_name_no_single_checkpoint_end_in_one_line(tmp_path, capsys, flags, problem):
    line = said(capsys, "convert", *flags, "--out", tmp_path / "model")
    assert problem in line and "\n" not in line and not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: w.pop("language_model.norm.weight"), "lacks language_model.norm.weight"),
        (lambda w: w.pop("latent_attention_model.latents"), "lacks latents"),
        (lambda w: w.update({"language_model.more": torch.zeros(1)}), "the model has not: language_model.more"),
        (lambda w: w.update(image_newline=torch.zeros(7)), "image_newline is [7], the model has [32]"),
        (
            lambda w: w.update({"language_model.embed_tokens.weight": torch.zeros(301, 32)}),
            "language_model.embed_tokens.weight is [301, 32]",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_written(tmp_path, capsys, change, problem):
    folder = copied(mm_embed_folder(), tmp_path)
    weights = tensors_of(folder)
    change(weights)
    write_tensors(folder, weights)
    line = said(capsys, "convert", "--mm-embed", folder, "--nv-embed", nv_embed_folder(), "--out", tmp_path / "model")
    assert problem in line and str(folder) in line and "\n" not in line and not (tmp_path / "model").exists()


def test_the_shipped_shapes_of_nv_embed_v1_are_taken_where_none_are_given(tmp_path, monkeypatch):
    asked = []

    def small(name):
        asked.append(name)
        return read_json(nv_embed_folder() / "config.json")

    monkeypatch.setattr(released, "architecture", small)
    done("convert", "--mm-embed", mm_embed_folder(), "--out", tmp_path / "model")
    same(vectors(load_encoder(tmp_path / "model"), ROWS), torch.stack([naive_mm_embed(row, "bytes") for row in ROWS]))
    assert asked == ["nvidia/NV-Embed-v1"]


@pytest.mark.parametrize("build", [llava_e, llava_p, any_resolution, nv_embed_llava], ids=lambda b: b.__name__)
def test_merging_adapters_leaves_the_vectors_as_they_are(tmp_path, build):
    encoder = build()
    before = vectors(encoder, mixed_rows(7))
    save_encoder(encoder, tmp_path / "model", record={"seed": 3, "config": {"a": 1}})
    done("merge", "--model", tmp_path / "model", "--out", tmp_path / "whole")
    merged = load_encoder(tmp_path / "whole")
    same(vectors(merged, mixed_rows(7)), before)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert read_json(tmp_path / "whole/record.json") == {"seed": 3, "config": {"a": 1}}


def test_a_merged_llava_next_is_a_checkpoint_that_transformers_reads(tmp_path):
    from transformers import LlavaNextModel

    encoder = llava_e()
    before = vectors(encoder, mixed_rows(7))
    save_encoder(encoder, tmp_path / "model")
    done("merge", "--model", tmp_path / "model", "--out", tmp_path / "merged", "--checkpoint")
    same(vectors(MllmEncoder(LlavaNextBackbone(tmp_path / "merged")), mixed_rows(7)), before)
    _, told = LlavaNextModel.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in tensors_of(tmp_path / "merged")


@torch.no_grad()
def test_a_trained_text_retriever_is_a_checkpoint_of_nv_embeds_layout(tmp_path):
    encoder = nv_embed_text()
    for parameter in encoder.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    before = vectors(encoder, TEXTS)
    save_encoder(encoder, tmp_path / "model")
    merged = tmp_path / "merged"
    done("merge", "--model", tmp_path / "model", "--out", merged, "--checkpoint")
    assert set(tensors_of(merged)) == set(tensors_of(nv_embed_folder()))
    again = MllmEncoder(
        NvEmbedBackbone(merged),
        pooling=LatentAttentionPooling(**POOLING, checkpoint=merged),
        attention="bidirectional",
        instruction_mask="nv_embed",
    )
    same(vectors(again, TEXTS), before)
    assert NvEmbedLlavaBackbone(llava_folder(), merged).width == encoder.dimension


def test_a_merged_mm_embed_is_a_checkpoint_of_mm_embeds_layout(tmp_path):
    encoder = nv_embed_llava()
    before = vectors(encoder, mixed_rows(7))
    save_encoder(encoder, tmp_path / "model")
    merged = tmp_path / "merged"
    done("merge", "--model", tmp_path / "model", "--out", merged, "--checkpoint")
    assert set(tensors_of(merged)) == set(tensors_of(mm_embed_folder()))
    again = MllmEncoder(
        NvEmbedLlavaBackbone(merged, merged / "retriever", released=merged),
        pooling=LatentAttentionPooling(**POOLING, checkpoint=merged),
        attention="bidirectional",
        instruction_mask="clean",
    )
    same(vectors(again, mixed_rows(7)), before)


def test_half_precision_weights_stay_so_when_merged(tmp_path):
    backbone = LlavaNextBackbone(llava_folder(), dtype="bfloat16")
    save_encoder(MllmEncoder(backbone, trained=("projector", "language_model")), tmp_path / "model")
    done("merge", "--model", tmp_path / "model", "--out", tmp_path / "whole")
    merged = load_encoder(tmp_path / "whole")
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_a_model_without_adapters_has_nothing_to_merge(tmp_path, capsys):
    from tests.encoders.small import hf_small

    save_encoder(hf_small(tmp_path), tmp_path / "model")
    line = said(capsys, "merge", "--model", tmp_path / "model", "--out", tmp_path / "whole")
    assert "ClipFusion has nothing to merge" in line and not (tmp_path / "whole").exists()

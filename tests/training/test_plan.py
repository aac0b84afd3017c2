"""Plans: the paper's 7B retriever by hand arithmetic, what a step is made of, what fits and what would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.errors import InputError
from lit_mmembed.training.devices import device
from lit_mmembed.training.plan import (
    chunk_activations,
    fits,
    largest_chunk,
    memory,
    parameters,
    run_time,
    step_flops,
    tokens,
)
from lit_mmembed.training.plan_summary import fit_summary, predict_summary, warnings
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.training.planned_fit import Fit, Machine, Settings
from lit_mmembed.training.workload import MBEIR_TRAIN_QUERIES, Kind, Workload, mbeir
from lit_mmembed.types import Modality, Side

WIDTH, LAYERS, INNER, SHARED = 4096, 32, 14336, 1024
LAYER = 2 * WIDTH * WIDTH + 2 * WIDTH * SHARED + 3 * WIDTH * INNER
"""Weights of the matrices of one layer of Mistral 7B, written down once more."""


def llava(**changes: object) -> dict:
    backbone = {
        "class_path": "lit_mmembed.encoders.llava_next.LlavaNextBackbone",
        "init_args": {"path": "llava-hf/llava-v1.6-mistral-7b-hf", "dtype": "bfloat16"},
    }
    arguments = {"backbone": backbone, "lora": {"r": 8, "alpha": 64}, "gradient_checkpointing": True, **changes}
    return {"class_path": "lit_mmembed.encoders.mllm.MllmEncoder", "init_args": arguments}


CLIP = {
    "class_path": "lit_mmembed.encoders.clip_fusion.ClipFusion",
    "init_args": {
        "backbone": {
            "class_path": "lit_mmembed.encoders.hf_clip.HfClipBackbone",
            "init_args": {"name_or_path": "openai/clip-vit-large-patch14"},
        }
    },
}
SETTINGS = Settings(
    batch_size=1024, negatives=0, chunk_tokens=16384, epochs=2, steps=None, precision="bf16-mixed", strategy="auto",
    encode_rows=256,
)  # fmt: skip


def fit(encoder: dict | None = None, *, gpus: int = 8, gpu: str = "h100", workload: Workload | None = None, **changes):
    machine = Machine(device(gpu), gpus, 0.4)
    return Fit(
        planned_encoder(encoder or llava()), workload or mbeir(instructions=True), replace(SETTINGS, **changes), machine
    )


def texts(length: int, count: int = 1000) -> Workload:
    queries = (Kind(Side.QUERY, Modality.TEXT, count, length),)
    documents = (Kind(Side.CANDIDATE, Modality.TEXT, count, length),)
    return Workload(queries, documents, documents, ())


def test_the_trained_parameters_are_adapters_and_projector():
    counted = parameters(planned_encoder(llava()))
    assert counted["trainable"] == counted["adapters"] + counted["projector"]
    assert counted["adapters"] == LAYERS * 8 * (2 * (WIDTH + WIDTH) + 2 * (WIDTH + SHARED) + 3 * (WIDTH + INNER))
    assert 0.005 < counted["share"] < 0.006


def test_what_is_named_as_trained_is_trained():
    whole = parameters(planned_encoder(llava(trained=["language_model"], lora=None)))
    assert whole["trainable"] == whole["language model"]


def test_a_row_has_its_text_and_577_tokens_for_its_image():
    encoder = planned_encoder(llava())
    both = Kind(Side.QUERY, Modality.IMAGE_TEXT, 1, 50)
    assert encoder.length(both) == 50 + 577
    assert encoder.length(Kind(Side.QUERY, Modality.TEXT, 1, 500)) == 128
    assert encoder.length(replace_text(both, 500)) == 127 + 577  # an image counts one of the 128


def replace_text(kind: Kind, text: int) -> Kind:
    return Kind(kind.side, kind.modality, kind.count, text)


def test_a_step_has_queries_positives_and_negatives():
    for negatives, rows in ((0, 2048), (1, 3072)):
        assert tokens(planned_encoder(llava()), fit(negatives=negatives).step)["rows"] == pytest.approx(rows)


def test_the_share_of_images_is_that_of_the_tasks():
    images = sum(MBEIR_TRAIN_QUERIES[task.name] * (task.query_modality is not Modality.TEXT) for task in MBEIR_TASKS)
    images += sum(
        MBEIR_TRAIN_QUERIES[task.name] * (task.candidate_modality is not Modality.TEXT) for task in MBEIR_TASKS
    )
    total = sum(MBEIR_TRAIN_QUERIES.values())
    assert tokens(planned_encoder(llava()), fit().step)["images"] == pytest.approx(1024 * images / total)


def test_the_flops_of_a_text_only_step_by_hand():
    """Frozen weights: 2 forward passes, 1 again for checkpointing, 1 backward; adapters: 3 and 2; no projector."""
    length, rows = 100, 2048
    lora = parameters(planned_encoder(llava()))["adapters"]
    weights = 2 * LAYER * LAYERS * length * rows
    attention = 2 * length * length * WIDTH * LAYERS * rows  # causal: half of 4 L^2 H d
    expected = weights * (3 + 1) + attention * (3 + 2) + 2 * lora * length * rows * (3 + 2)
    assert step_flops(fit(workload=texts(length)))["executed"] == pytest.approx(expected)


def test_a_plain_step_without_checkpointing_executes_what_the_model_costs():
    flops = step_flops(fit(llava(gradient_checkpointing=False), chunk_tokens=None))
    assert flops["executed"] == pytest.approx(flops["model"])


def test_a_frozen_vision_tower_is_run_once_and_a_trained_one_three_times():
    encoder, clip = planned_encoder(llava()), planned_encoder(CLIP)
    assert not encoder.passes_gradient(encoder.parts["vision tower"])
    flops = step_flops(fit(CLIP, chunk_tokens=None))
    assert flops["executed"] == pytest.approx(3 * flops["forward"], rel=1e-6)
    assert set(clip.parts) == clip.trained


def test_more_gpus_take_less_time_and_less_of_what_lasts_for_a_step():
    one, eight = fit(gpus=1), fit(gpus=8)
    assert run_time(one)["seconds_per_step"] == pytest.approx(8 * run_time(eight)["seconds_per_step"])
    few, many = (memory(f, 16384, checkpointing=True) for f in (one, eight))
    assert few["pixels"] == pytest.approx(8 * many["pixels"])
    assert few["vision features"] == pytest.approx(8 * many["vision features"])
    assert few["weights"] == many["weights"] and few["activations"] == many["activations"]


def test_the_time_of_a_step_is_its_flops_over_the_share_of_the_peak():
    assert run_time(fit())["seconds_per_step"] == pytest.approx(step_flops(fit())["executed"] / (8 * 989e12 * 0.4))


def test_a_run_ends_with_its_epochs_or_its_steps():
    total = sum(MBEIR_TRAIN_QUERIES.values())
    assert run_time(fit())["steps"] == 2 * (total // 1024)
    assert run_time(fit(steps=100))["steps"] == 100
    assert run_time(fit(epochs=None, steps=100))["steps"] == 100


def test_weights_gradients_and_moments_by_hand():
    held, counted = memory(fit(), 16384, checkpointing=True), parameters(planned_encoder(llava()))
    trained = counted["trainable"]
    assert held["weights"] == (counted["total"] - trained) * 2 + trained * 6
    assert held["optimizer"] == trained * 8
    assert held["gradients"] == trained * 8  # the cached step's sums, and a chunk's own


def test_sharding_splits_what_it_says():
    whole, split = (memory(fit(strategy=name), 16384, checkpointing=True) for name in ("ddp", "deepspeed_stage_2"))
    for part in ("gradients", "optimizer"):
        assert split[part] == pytest.approx(whole[part] / 8)
    assert split["weights"] == whole["weights"]
    assert memory(fit(strategy="fsdp"), 16384, checkpointing=True)["weights"] == pytest.approx(whole["weights"] / 8)


def test_checkpointing_keeps_one_hidden_state_a_layer_and_one_layer_whole():
    kept = chunk_activations(fit(), 16384, checkpointing=True)
    whole = chunk_activations(fit(), 16384, checkpointing=False)
    assert whole / kept > 10
    assert kept > LAYERS * 16384 * WIDTH * 2


def test_a_chunk_does_not_keep_more_for_a_larger_batch():
    assert chunk_activations(fit(batch_size=4096), 16384, checkpointing=True) == pytest.approx(
        chunk_activations(fit(), 16384, checkpointing=True)
    )
    plain = [chunk_activations(fit(batch_size=size), None, checkpointing=True) for size in (512, 1024)]
    assert plain[1] == pytest.approx(2 * plain[0])


def test_nothing_is_said_where_everything_fits():
    assert warnings(fit()) == []


def test_what_does_not_fit_is_told_with_a_chunk_that_does():
    large = fit(llava(gradient_checkpointing=False))
    first, without, with_checkpointing = warnings(large)
    assert "does not fit" in first and "gradient_checkpointing=true" in with_checkpointing
    chunk = int(without.split("=")[1].split()[0])
    assert chunk == largest_chunk(large, checkpointing=False)
    assert fits(large, memory(large, chunk, checkpointing=False))
    assert not fits(large, memory(large, 2 * chunk, checkpointing=False))


def test_weights_that_are_too_large_are_told_by_what_would_make_them_small():
    backbone = {
        "class_path": "lit_mmembed.encoders.llava_next.LlavaNextBackbone",
        "init_args": {"path": "llava-hf/llava-v1.6-34b-hf", "dtype": "float32"},
    }
    told = " ".join(warnings(fit(llava(backbone=backbone), gpu="h100")))
    assert "QLoRA" in told and "FSDP2 (experiments/mbeir/machines/fsdp2.yaml) splits them over 8 GPUs" in told


def test_a_batch_that_does_not_divide_and_a_chunk_below_a_row_are_told():
    told = " ".join(warnings(fit(batch_size=1001, chunk_tokens=300)))
    assert "1001 queries do not divide by 8 GPUs" in told and "a chunk 300" in told


def test_latent_attention_is_counted_where_it_pools():
    pooling = {"class_path": "lit_mmembed.encoders.pooling.LatentAttentionPooling", "init_args": {"width": 4096}}
    backbone = {"class_path": "lit_mmembed.encoders.nv_embed.NvEmbedLlavaBackbone", "init_args": {"dtype": "bfloat16"}}
    encoder = planned_encoder(llava(backbone=backbone, pooling=pooling, attention="bidirectional"))
    assert encoder.parts["pooling"].parameters == 740_356_096
    assert encoder.parts["language model"].parameters == 7_110_660_096
    assert encoder.parts["language model"].blocks.causal is False
    assert encoder.stored_bytes("pooling") == 4


def test_a_text_backbone_has_no_images():
    backbone = {"class_path": "lit_mmembed.encoders.nv_embed.NvEmbedBackbone", "init_args": {"dtype": "bfloat16"}}
    encoder = planned_encoder(llava(backbone=backbone))
    assert set(encoder.parts) == {"language model", "adapters"}


def test_an_encoder_that_is_not_known_is_named():
    with pytest.raises(InputError, match=r"shapes of Mine are not known.*MllmEncoder"):
        planned_encoder({"class_path": "my_package.Mine"})


def test_a_plan_of_embedding_has_no_step():
    found = predict_summary(fit())
    assert "step" not in found and found["memory"]["total"] > found["memory"]["weights"]
    assert found["pool"]["fp16"] == 5_609_079 * 4096 * 2
    assert set(found) < set(fit_summary(fit()))

"""LLaVA-Next models with random weights, built in seconds without a checkpoint, and rows of M-BEIR's mix for them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from benchmarks.made import texts
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.mllm_preprocess import ImageParts
from lit_mmembed.training.workload import mbeir
from lit_mmembed.types import Batch, EncoderRow, Modality, Side

SHAPES = {
    "7b": (
        {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
         "intermediate_size": 14336, "vocab_size": 32064, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5},
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
         "image_size": 336, "patch_size": 14},
    ),
    "small": (
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
         "intermediate_size": 2048, "vocab_size": 32064},
        {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024,
         "image_size": 112, "patch_size": 14},
    ),
    "cpu": (
        {"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 512, "vocab_size": 32064},
        {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 256,
         "image_size": 84, "patch_size": 14},
    ),
    "tiny": (
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "intermediate_size": 128, "vocab_size": 8192},
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
         "image_size": 56, "patch_size": 14},
    ),
}  # fmt: skip
"""The language model and the vision tower: LLaVA-v1.6-Mistral-7B's, of 100 million weights, for a CPU, of a toy."""
INSTRUCTION = "Retrieve the passage or the picture that answers what is asked here about this image"
SHORTEST, LONGEST = 8, 60
"""Words of a text; most are one token."""


@cache
def sentences(count):
    return texts(count, np.random.default_rng(0), shortest=SHORTEST, longest=LONGEST)


def write_tokenizer(folder, *, vocabulary):
    """A byte-level BPE of the benchmarks' words. Return the image token's id."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([*sentences(3000), *[f"{INSTRUCTION}\nQuery: "] * 9], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    PreTrainedTokenizerFast(
        tokenizer_object=bpe, extra_special_tokens={"image_token": "<image>"}, **roles
    ).save_pretrained(folder)
    return bpe.token_to_id("<image>")


def write_folder(folder, shape):
    """What a LLaVA-Next checkpoint has beside its weights."""
    text, vision = SHAPES[shape]
    folder.mkdir(parents=True, exist_ok=True)
    token = write_tokenizer(folder, vocabulary=min(text["vocab_size"], 30_000))
    size = vision["image_size"]
    config = {
        "architectures": ["LlavaNextForConditionalGeneration"], "model_type": "llava_next", "image_token_index": token,
        "image_grid_pinpoints": [[size, 2 * size], [2 * size, size]], "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "text_config": {"model_type": "mistral", "sliding_window": None, "rope_theta": 1e6, **text},
        "vision_config": {"model_type": "clip_vision_model", **vision},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    square = {"height": size, "width": size}
    processor = {
        "image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": size}, "crop_size": square,
        "image_grid_pinpoints": config["image_grid_pinpoints"], "resample": 3,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


class MadeImages:
    """In the place of a backbone's images: pixels without decoding, since decoding is not what is measured."""

    def __init__(self, images, size):
        self.placeholder, self.token_id, self.typical_tokens = (
            images.placeholder,
            images.token_id,
            images.typical_tokens,
        )
        self._pixels = torch.randint(0, 256, (16, 1, 3, size, size), dtype=torch.uint8)

    def __call__(self, encoded, *, record=None):
        pixels = self._pixels[int(encoded) % len(self._pixels)]
        return ImageParts(pixels, self.typical_tokens, tuple(pixels.shape[-2:]))


def build(folder, shape, device, *, dtype, **options):
    """A LLaVA-E encoder with random weights, made on the device."""
    if not (Path(folder) / "config.json").exists():
        write_folder(Path(folder), shape)
    with torch.device(device):
        backbone = LlavaNextBackbone(folder, dtype=dtype, weights=False)
        draw_weights(backbone)
        encoder = MllmEncoder(backbone, **{"lora": Lora(r=8, alpha=64), **options})
    backbone.images = encoder.preprocess.images = MadeImages(backbone.images, SHAPES[shape][1]["image_size"])
    return encoder.to(device)


@torch.no_grad()
def draw_weights(module):
    """Matrices as wide as keeps a layer's values of size one, norms one, biases zero."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            parameter.zero_()
        else:
            parameter.fill_(1.0)


@torch.no_grad()
def draw_adapters(encoder):
    """Adapters that do something: at its start B is zero, and no gradient reaches A."""
    for name, parameter in encoder.named_parameters():
        if ".lora_B" in name:
            parameter.normal_(0.0, 0.02)


def make_batch(encoder, queries, negatives=0, *, device="cpu", images=True, seed=0):
    """A batch of M-BEIR's mix of modalities: queries with instructions, positives, then negatives."""
    generator = np.random.default_rng(seed)
    kinds = mbeir(instructions=True).step(queries, negatives)
    sides = {}
    for side, count in ((Side.QUERY, queries), (Side.CANDIDATE, queries * (1 + negatives))):
        own = [kind for kind in kinds if kind.side is side]
        share = np.array([kind.count for kind in own])
        drawn = generator.choice(len(own), count, p=share / share.sum())
        sides[side] = encoder.preprocess([made_row(own[kind], generator, images) for kind in drawn])
    numbers = torch.arange(queries * (1 + negatives))
    features = [{name: tensor.to(device) for name, tensor in sides[side].items()} for side in Side]
    positive = numbers[:queries].to(device)
    return Batch(*features, positive, numbers.to(device), positive[:, None], torch.zeros_like(positive))


def made_row(kind, generator, images):
    with_image = images and kind.modality is not Modality.TEXT
    pool = sentences(3000)
    text = None if with_image and kind.modality is Modality.IMAGE else pool[generator.integers(len(pool))]
    image = str(generator.integers(1 << 20)).encode() if with_image else None
    return EncoderRow(text, image, kind.side, INSTRUCTION if kind.side is Side.QUERY else None)


def documents(encoder, count, modality, device):
    """Features of documents of one modality."""
    generator = np.random.default_rng(1)
    kinds = [kind for kind in mbeir(instructions=True).documents if kind.modality is modality]
    features = encoder.preprocess([made_row(kinds[0], generator, True) for _ in range(count)])
    return {name: tensor.to(device) for name, tensor in features.items()}

"""A small Qwen2-VL in the layout of the released checkpoints, and an encoder on it; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.qwen2_vl import Qwen2VlBackbone
from tests.encoders.small import TEXTS

SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
WIDTH = 48
LIMITS = {"min_pixels": 16 * 16, "max_pixels": 12 * 16 * 16}
"""A token is 16 x 16 pixels."""


def qwen2_vl(folder: Path) -> MllmEncoder:
    return MllmEncoder(Qwen2VlBackbone(qwen2_vl_folder(folder), **LIMITS), lora=Lora(r=2))


def qwen2_vl_folder(folder: Path) -> Path:
    """`Qwen/Qwen2-VL-2B-Instruct` in small, saved by transformers."""
    from transformers import Qwen2VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    path = folder / "qwen2_vl"
    if path.exists():
        return path
    tokenizer = _tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        Qwen2VLForConditionalGeneration(_config(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    Qwen2VLImageProcessorPil(patch_size=8, merge_size=2).save_pretrained(path)
    return path


def _config(tokenizer):
    from transformers import Qwen2VLConfig

    spelled = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>") for name, token in spelled.items()}
    wide = {"initializer_range": 0.15}  # so that positions and images move the hidden states by much
    text = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
        "vocab_size": len(tokenizer) + 3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 4, 4]},
    }
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2}
    return Qwen2VLConfig(text_config=text | wide, vision_config=vision | wide, tie_word_embeddings=True, **ids)


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=SPECIAL[2:]
    )

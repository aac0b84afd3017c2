"""Small encoders and rows that several tests build on; everything is made on the spot, nothing is downloaded."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import torch

from lit_mmembed.encoders.clip_fusion import ClipFusion
from lit_mmembed.encoders.hf_clip import HfClipBackbone
from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
from lit_mmembed.encoders.tokenizer import train_tokenizer
from lit_mmembed.types import EncoderRow, Side

TEXTS = ["a red fox", "the capital of France is Paris", "two cats on a mat", "flags of the world", "a clock at noon"]

SMALL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 400,
        "width": 32,
        "heads": 2,
        "layers": 2,
        "pool_type": "eos",
        "eos_id": 2,
    },
}


def jpeg(seed: int = 0, size: tuple[int, int] = (48, 40), kind: str = "JPEG") -> bytes:
    """An image with some structure, encoded."""
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(stream, kind)
    return stream.getvalue()


def mixed_rows(n: int = 6, side: Side = Side.QUERY) -> list[EncoderRow]:
    """Text, image and both in turn, some with instructions, of different lengths."""
    rows = []
    for index in range(n):
        text = " ".join(TEXTS[: 1 + index % 3]) if index % 3 != 1 else None
        image = jpeg(index) if index % 3 else None
        instruction = "Find what is asked for" if side is Side.QUERY and index % 2 else None
        rows.append(EncoderRow(text, image, side, instruction))
    return rows


def tokenizer_file(folder: Path) -> Path:
    path = folder / "own_tokenizer.json"
    if not path.exists():
        train_tokenizer(TEXTS, path, vocab_size=400)
    return path


def config_file(folder: Path, **changes: object) -> Path:
    path = folder / "small.json"
    path.write_text(json.dumps({**SMALL, **changes}))
    return path


def own_small(folder: Path, *, text_groups: int = 2, **changes: object) -> ClipFusion:
    """From a JSON config with an own tokenizer."""
    backbone = OpenClipBackbone(config=config_file(folder, **changes), tokenizer=tokenizer_file(folder))
    return ClipFusion(backbone, text_groups=text_groups)


def own_small_with_stem(folder: Path) -> ClipFusion:
    return own_small(folder, stem=[[8, 4], [16, 2]], text_groups=1)


def openai_like(folder: Path) -> ClipFusion:
    """CLIP's own BPE, end token by argmax, QuickGELU: ViT-L-14-quickgelu in small."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    config = config_file(folder, quick_gelu=True, text_cfg=text)
    return ClipFusion(OpenClipBackbone(config=config))


def hf_small(folder: Path) -> ClipFusion:
    """A random transformers CLIP, saved and loaded again."""
    return ClipFusion(HfClipBackbone(hf_folder(folder)))


def hf_folder(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

    path = folder / "hf_clip"
    if path.exists():
        return path
    tokenizer = CLIPTokenizer(vocab=_hf_vocabulary(), merges=[])
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        CLIPModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(path)
    return path


def _hf_vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz.,"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(tokens)}

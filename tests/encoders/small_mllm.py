"""Small multimodal LLMs in the layouts of the released checkpoints, and encoders on them; nothing is downloaded.

The folders are made once per session; `copied` gives a test one of its own to damage.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedBackbone, NvEmbedLlavaBackbone
from lit_mmembed.encoders.pooling import LastTokenPooling, LatentAttentionPooling
from lit_mmembed.encoders.prompts import OneWordPrompts
from tests.encoders.small import TEXTS
from tests.encoders.small_tokenizers import byte_tokenizer, piece_tokenizer

WIDTH, SIZE, PATCH, LATENTS, HEADS = 32, 32, 8, 6, 2
PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96]]
TEXT_SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "sliding_window": None,
}
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": SIZE,
    "patch_size": PATCH,
    "intermediate_size": 48,
}
POOLING = {"width": WIDTH, "latents": LATENTS, "heads": HEADS, "head_width": WIDTH}
TOKENIZERS = {"bytes": byte_tokenizer, "pieces": piece_tokenizer}
CORPUS = [
    *TEXTS,
    "Instruct: Find what is asked for\nQuery: two cats\n",
    "Find an image that shows it\nQuery: ",
    "Describe the above in one word:",
]


def llava_folder(style: str = "bytes") -> Path:
    """`llava-hf/llava-v1.6-mistral-7b-hf` in small; `pieces` has a tokenizer like Llama's, `bytes` a byte-level one."""
    return _folder(f"llava_{style}")


def nv_embed_folder(style: str = "bytes") -> Path:
    """`nvidia/NV-Embed-v1` in small: its rotary base and its vocabulary are not LLaVA-Next's."""
    return _folder(f"nv_embed_{style}")


def mm_embed_folder(style: str = "bytes") -> Path:
    """`nvidia/MM-Embed` in small: its text_config is that of the language model which was replaced."""
    return _folder(f"mm_embed_{style}")


def copied(source: Path, folder: Path) -> Path:
    """Copy a folder."""
    return Path(shutil.copytree(source, folder / source.name))


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Read model.safetensors."""
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def write_tensors(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write model.safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def llava_e(folder: Path | None = None, style: str = "bytes") -> MllmEncoder:
    """LLaVA-E: prompts closed with the end-of-sequence token, whose hidden state is the vector."""
    return with_drawn_adapters(MllmEncoder(LlavaNextBackbone(llava_folder(style)), lora=Lora(r=2, alpha=8)))


def llava_p(folder: Path | None = None) -> MllmEncoder:
    """LLaVA-P: one-word prompts, the last token's hidden state."""
    backbone = LlavaNextBackbone(llava_folder("pieces"))
    prompts, lora = OneWordPrompts(), Lora(r=2, alpha=8, targets=("q_proj", "v_proj"))
    return with_drawn_adapters(
        MllmEncoder(backbone, pooling=LastTokenPooling(), prompts=prompts, lora=lora, gradient_checkpointing=True)
    )


def any_resolution(folder: Path | None = None) -> MllmEncoder:
    """LLaVA-E that also looks at an image's tiles."""
    backbone = LlavaNextBackbone(llava_folder(), any_resolution=True)
    return with_drawn_adapters(MllmEncoder(backbone, lora=Lora(r=2, alpha=8)))


def nv_embed_llava(folder: Path | None = None) -> MllmEncoder:
    """The paper's third variant: NV-Embed in LLaVA-Next's place of the language model."""
    return with_drawn_adapters(
        MllmEncoder(
            NvEmbedLlavaBackbone(llava_folder(), nv_embed_folder()),
            pooling=LatentAttentionPooling(**POOLING, checkpoint=nv_embed_folder()),
            attention="bidirectional",
            instruction_mask="clean",
            lora=Lora(r=2, alpha=8),
        )
    )


def nv_embed_text(folder: Path | None = None) -> MllmEncoder:
    """NV-Embed alone, all of it trained: it reads texts only."""
    return MllmEncoder(
        NvEmbedBackbone(nv_embed_folder()),
        pooling=LatentAttentionPooling(**POOLING, checkpoint=nv_embed_folder()),
        attention="bidirectional",
        instruction_mask="nv_embed",
        trained=("language_model", "pooling"),
    )


ENCODERS = [llava_e, llava_p, any_resolution, nv_embed_llava, nv_embed_text]


@torch.no_grad()
def with_drawn_adapters(encoder: MllmEncoder) -> MllmEncoder:
    """Draw LoRA's B, which is zero at the start: no gradient would reach A."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in encoder.named_parameters():
        if ".lora_B." in name:
            parameter.normal_(std=0.1, generator=generator)
    return encoder


@cache
def _session() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="small_mllm")


def _folder(name: str) -> Path:
    path = Path(_session().name) / name
    if not path.exists():
        kind, _, style = name.rpartition("_")
        with torch.random.fork_rng():
            torch.manual_seed(len(name))
            {"llava": _write_llava, "nv_embed": _write_nv_embed, "mm_embed": _write_mm_embed}[kind](path, style)
    return path


def _write_llava(folder: Path, style: str) -> None:
    from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextImageProcessor

    tokenizer = TOKENIZERS[style](CORPUS, True)
    config = LlavaNextConfig(
        text_config={
            **TEXT_SHAPE,
            "model_type": "mistral",
            "vocab_size": len(tokenizer) + 6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        vision_config=VISION,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
    )
    _spread(LlavaNextForConditionalGeneration(config)).save_pretrained(folder)
    side = {"height": SIZE, "width": SIZE}
    LlavaNextImageProcessor(
        size={"shortest_edge": SIZE}, crop_size=side, image_grid_pinpoints=PINPOINTS
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _write_nv_embed(folder: Path, style: str) -> None:
    from transformers import MistralConfig, MistralModel

    folder.mkdir()
    tokenizer = TOKENIZERS[style](CORPUS, False)
    text = {**TEXT_SHAPE, "vocab_size": len(tokenizer), "rope_theta": 1e4}
    rope = {"rope_type": "default", "rope_theta": 1e4}
    body = _spread(MistralModel(MistralConfig(**TEXT_SHAPE, vocab_size=len(tokenizer), rope_parameters=rope)))
    weights = {f"embedding_model.{name}": tensor for name, tensor in body.state_dict().items()}
    write_tensors(folder, weights | {f"latent_attention_model.{name}": w for name, w in latent_weights().items()})
    latent = {"num_latents_value": LATENTS, "num_cross_heads": HEADS, "cross_dim_head": WIDTH, "hidden_dim": WIDTH}
    config = {
        "model_type": "nvembed",
        "text_config": {**text, "model_type": "bidir_mistral"},
        "latent_attention_config": {**latent, "latent_dim": WIDTH, "model_type": "latent_attention"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)


def _write_mm_embed(folder: Path, style: str) -> None:
    copied(llava_folder(style), folder.parent / "copies")
    shutil.move(folder.parent / "copies" / f"llava_{style}", folder)
    config = json.loads((folder / "config.json").read_text())
    more = {"retriever": "nvidia/NV-Embed-v1", "global_image_patch_only": True, "add_eos_token": True}
    (folder / "config.json").write_text(json.dumps({**config, **more, "padding_side": "right"}))
    kept = {}
    for name, tensor in tensors_of(folder).items():
        name = name.removeprefix("model.")
        if not name.startswith(("language_model", "lm_head")):
            kept[name.replace("vision_tower.vision_model.", "vision_tower.")] = tensor
    kept = {name.replace("vision_tower.", "vision_tower.vision_model."): tensor for name, tensor in kept.items()}
    for name, tensor in tensors_of(nv_embed_folder(style)).items():
        kept[name.replace("embedding_model.", "language_model.")] = tensor + 0.01 * torch.randn(tensor.shape)
    write_tensors(folder, kept)


def latent_weights() -> dict[str, torch.Tensor]:
    """Draw a latent attention under NV-Embed-v1's names."""
    inner = HEADS * WIDTH
    shapes = {
        "latents": (LATENTS, WIDTH),
        "cross_attend_blocks.0.fn.to_q.weight": (inner, WIDTH),
        "cross_attend_blocks.0.fn.to_kv.weight": (2 * inner, WIDTH),
        "cross_attend_blocks.0.fn.to_out.weight": (WIDTH, inner),
        "cross_attend_blocks.1.fn.net.0.weight": (8 * WIDTH, WIDTH),
        "cross_attend_blocks.1.fn.net.0.bias": (8 * WIDTH,),
        "cross_attend_blocks.1.fn.net.2.weight": (WIDTH, 4 * WIDTH),
        "cross_attend_blocks.1.fn.net.2.bias": (WIDTH,),
    }
    for norm in ("0.norm", "0.norm_context", "1.norm"):
        shapes |= {f"cross_attend_blocks.{norm}.weight": (WIDTH,), f"cross_attend_blocks.{norm}.bias": (WIDTH,)}
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


@torch.no_grad()
def _spread(model: torch.nn.Module) -> torch.nn.Module:
    """Draw weights large enough that every token and every position matters."""
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.normal_(std=0.2)
    return model

"""Finding the class for a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.encoders.checkpoints import config_of
from lit_mmembed.encoders.mllm_backbone import DType
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.chat_model import ChatModelReranker
from lit_mmembed.reranking.llava import CACHE_BYTES, LlavaReranker
from lit_mmembed.reranking.prompts import TEMPLATES, TemplateName

ENCODER_FILE = "encoder.json"


def load_reranker(
    checkpoint: str | Path,
    *,
    template: TemplateName,
    dtype: DType,
    any_resolution: bool = False,
    max_tokens: int | None = None,
    batch_tokens: int = 8192,
    cache_bytes: int = CACHE_BYTES,
) -> LlavaReranker | ChatModelReranker:
    """Load a LLaVA-Next checkpoint into the fast class, any other chat model into the general one, in eval mode.

    Raises:
        InputError: it is a retriever's model folder, or no checkpoint.
    """
    if template not in TEMPLATES:
        raise InputError(f"there is no chat template {template!r}", fix=f"one of {', '.join(TEMPLATES)}")
    if (Path(checkpoint) / ENCODER_FILE).exists():
        fix = "name a checkpoint that writes text, such as llava-hf/llava-v1.6-mistral-7b-hf"
        raise InputError("is a retriever's model folder and can't answer", file=checkpoint, fix=fix)
    if config_of(checkpoint).get("model_type") == "llava_next":
        return LlavaReranker(
            checkpoint,
            template=template,
            dtype=dtype,
            any_resolution=any_resolution,
            max_tokens=max_tokens,
            batch_tokens=batch_tokens,
            cache_bytes=cache_bytes,
        ).eval()
    return ChatModelReranker(checkpoint, template=template, dtype=dtype, max_tokens=max_tokens).eval()

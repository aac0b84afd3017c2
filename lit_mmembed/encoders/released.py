"""Released MLLM checkpoints as encoders that are ready to embed: their own prompts, masks and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from lit_mmembed.encoders.checkpoints import config_of, local_folder, sub_config
from lit_mmembed.encoders.configurations import architecture
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.mllm_backbone import DTYPES, DType
from lit_mmembed.encoders.nv_embed import RETRIEVER_FOLDER, NvEmbedBackbone, NvEmbedLlavaBackbone
from lit_mmembed.encoders.pooling import EosPooling, LastTokenPooling, LatentAttentionPooling
from lit_mmembed.encoders.prompts import EosPrompts, OneWordPrompts, PromptStyle, ZeroShotPrompts
from lit_mmembed.files import write_json

LENGTH = 4096
"""Tokens at most of what NV-Embed-v1 and MM-Embed embed, as on their cards."""
Style = Literal["eos", "one_word", "zero_shot"]
Source = str | Path


@contextmanager
def released_mm_embed(
    source: Source, nv_embed: Source | None = None, *, dtype: DType | None = None
) -> Iterator[MllmEncoder]:
    """Yield MM-Embed; save it inside the block, where NV-Embed's configuration exists as a folder.

    Args:
        source: `nvidia/MM-Embed` or a folder of its form.
        nv_embed: Where NV-Embed-v1's config.json is. None: in `source`/retriever, or else the shipped shapes.
        dtype: Of the weights; None for the checkpoint's own.

    Raises:
        InputError: a tensor is missing, left over or misshapen.
    """
    with TemporaryDirectory() as temporary:
        retriever = _retriever_config(source, nv_embed, Path(temporary))
        own = dtype or own_dtype(source)
        backbone = NvEmbedLlavaBackbone(source, retriever, released=source, dtype=own)
        yield _whole(
            MllmEncoder(
                backbone,
                pooling=latent_attention(source, retriever),
                attention="bidirectional",
                prompts=EosPrompts(query="Instruct: {instruction}\nQuery: {image}\n{text}"),
                instruction_mask="mm_embed",
                query_length=LENGTH,
                candidate_length=LENGTH,
                trained=(),
            )
        )


def released_nv_embed(source: Source, *, dtype: DType | None = None) -> MllmEncoder:
    """Return NV-Embed-v1; InputError for a tensor that is missing, left over or misshapen."""
    prompts = EosPrompts(
        query="Instruct: {instruction}\nQuery: {text}", query_without_instruction="{text}", candidate="{text}"
    )
    return _whole(
        MllmEncoder(
            NvEmbedBackbone(source, dtype=dtype or own_dtype(source)),
            pooling=latent_attention(source, source),
            attention="bidirectional",
            prompts=prompts,
            instruction_mask="nv_embed",
            query_length=LENGTH,
            candidate_length=LENGTH,
            trained=(),
        )
    )


def released_llava(source: Source, style: Style, *, dtype: DType | None = None) -> MllmEncoder:
    """Return a LLaVA-Next that was not fine-tuned, prompted as LLaVA-E, as LLaVA-P or as in footnote 9."""
    prompts: PromptStyle = {"eos": EosPrompts, "one_word": OneWordPrompts, "zero_shot": ZeroShotPrompts}[style]()
    pooling = EosPooling() if style == "eos" else LastTokenPooling()
    backbone = LlavaNextBackbone(source, dtype=dtype or own_dtype(source))
    return _whole(MllmEncoder(backbone, pooling=pooling, prompts=prompts, trained=()))


def latent_attention(source: Source, config: Source) -> LatentAttentionPooling:
    """Return the latent attention of a checkpoint, in the sizes of a configuration; InputError where they differ."""
    raw = config_of(config)
    sizes = sub_config(raw, "latent_attention_config", config)
    return LatentAttentionPooling(
        int(sizes["hidden_dim"]),
        latents=int(sizes["num_latents_value"]),
        heads=int(sizes["num_cross_heads"]),
        head_width=int(sizes["cross_dim_head"]),
        checkpoint=source,
    )


def own_dtype(source: Source) -> DType:
    """Return the dtype that a checkpoint's config.json names; float32 where it names none."""
    config = config_of(source)
    named: Any = config.get("dtype") or config.get("torch_dtype")
    return named if named in DTYPES else "float32"


def _retriever_config(source: Source, nv_embed: Source | None, temporary: Path) -> Source:
    if nv_embed is not None:
        return nv_embed
    beside = local_folder(source) / RETRIEVER_FOLDER
    if beside.is_dir():
        return beside
    write_json(temporary / "config.json", architecture("nvidia/NV-Embed-v1"))
    return temporary


def _whole(encoder: MllmEncoder) -> MllmEncoder:
    """Let a model folder keep every weight."""
    encoder.merge()
    return encoder.eval()

"""NV-Embed-v1: a bidirectional Mistral body with latent attention; alone, and as the language model of LLaVA-Next.

The second is the paper's third variant (section 4.1), which MM-Embed is trained from: everything of LLaVA-Next stays
but the language model. The latent attention is a pooling, `pooling.LatentAttentionPooling(checkpoint=...)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lit_mmembed.encoders.checkpoints import (
    Checkpoint,
    config_of,
    load_strictly,
    sub_config,
    with_own_rules,
    without_weights,
)
from lit_mmembed.encoders.llava_next import LlavaNextBackbone, copy_side_files, llava_config, llava_model
from lit_mmembed.encoders.mllm_backbone import (
    DTYPES,
    SOURCE_FOLDER,
    DType,
    TextBackbone,
    fast_tokenizer,
)
from lit_mmembed.encoders.packing import PACKED, register
from lit_mmembed.encoders.quantization import Quantization
from lit_mmembed.errors import InputError

BODY, LATENT = "embedding_model.", "latent_attention_model."
RETRIEVER_FOLDER = "retriever"


class NvEmbedBackbone(TextBackbone):
    """NV-Embed's body, which reads texts.

    Args:
        path: Folder or hub name: config.json with `text_config`, safetensors with `embedding_model.*`, a tokenizer.
        dtype: Of the weights.
        weights: Load the weights; a model folder brings its own.

    Raises:
        InputError: another architecture; weights missing, left over or misshapen.
    """

    def __init__(
        self, path: str | Path = "nvidia/NV-Embed-v1", *, dtype: DType = "float32", weights: bool = True
    ) -> None:
        super().__init__()
        self.from_checkpoint = weights
        self._source: dict[str, Any] = {"path": str(path), "dtype": dtype}
        config = body_config(path)
        self.language_model = without_weights(lambda: _body(config), DTYPES[dtype])
        if weights:
            load_body(self.language_model, path)
        self.width = int(config.hidden_size)
        self.tokenizer = with_own_rules(fast_tokenizer(path), path)

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Copy config and tokenizer into `folder`."""
        copy_side_files(self._source["path"], folder / SOURCE_FOLDER)
        return {**self._source, "path": SOURCE_FOLDER, "weights": False}

    def source_args(self) -> dict[str, Any]:
        """Return the arguments that this was built with."""
        return dict(self._source)


class NvEmbedLlavaBackbone(LlavaNextBackbone):
    """LLaVA-Next with NV-Embed's body as its language model: what MM-Embed is.

    Args:
        llava: LLaVA-Next's checkpoint: vision tower, projector, newline vector, tokenizer and image processor.
        nv_embed: NV-Embed's checkpoint: the body.
        released: A checkpoint that holds all of it under MM-Embed's names, `nvidia/MM-Embed`; `llava` and `nv_embed`
            then only give configurations. The rotary base and the vocabulary are NV-Embed's: the `text_config` in
            MM-Embed's own config.json is that of the language model which was replaced.
        dtype: Of the weights.
        quantize: `4bit` packs the frozen language model for QLoRA; it can't be trained itself then.
        weights: Load the weights; a model folder brings its own.
    """

    def __init__(
        self,
        llava: str | Path = "llava-hf/llava-v1.6-mistral-7b-hf",
        nv_embed: str | Path = "nvidia/NV-Embed-v1",
        *,
        released: str | Path | None = None,
        dtype: DType = "float32",
        quantize: Quantization | None = None,
        weights: bool = True,
    ) -> None:
        super(LlavaNextBackbone, self).__init__()
        self.from_checkpoint = weights
        self._source = {"llava": str(llava), "nv_embed": str(nv_embed), "dtype": dtype}
        if released is not None:
            self._source["released"] = str(released)
        self.config = llava_config(llava)
        self.config.text_config = body_config(nv_embed)
        model: Any = without_weights(lambda: llava_model(self.config), DTYPES[dtype])
        self._take_parts(model)
        if weights:
            self._load(llava, nv_embed, released)
            self._quantize(quantize)
        self._take_inputs(llava, False)
        if weights and released is None:
            same_vocabulary(self.tokenizer, nv_embed)

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Copy both configurations, the tokenizer and the image processor into `folder`."""
        copy_side_files(self._source["llava"], folder / SOURCE_FOLDER)
        copy_side_files(self._source["nv_embed"], folder / RETRIEVER_FOLDER)
        paths = {"llava": SOURCE_FOLDER, "nv_embed": RETRIEVER_FOLDER}
        return {**paths, "dtype": self._source["dtype"], "weights": False}

    def embed(self, tokens: Tensor, image_token: Tensor) -> Tensor:
        """Return token embeddings [T, D]; LLaVA-Next's tokens that NV-Embed has not are read as the end of sequence."""
        unknown = tokens >= self.config.text_config.vocab_size
        return super().embed(tokens.masked_fill(unknown, self.tokenizer.eos_token_id), image_token)

    def _load(self, llava: str | Path, nv_embed: str | Path, released: str | Path | None) -> None:
        if released is not None:
            load_strictly(self, released, unused=(rf"^{LATENT}",))
            return
        body = self._modules.pop("language_model")
        try:
            load_strictly(self, llava, unused=(r"^lm_head\.", r"^language_model\."))
        finally:
            self._modules["language_model"] = body
        load_body(self.language_model, nv_embed)


def body_config(source: str | Path) -> Any:
    """Read the configuration of NV-Embed's body, a bidirectional Mistral; InputError for another architecture."""
    from transformers import MistralConfig

    raw = config_of(source)
    text = sub_config(raw, "text_config", source) if "text_config" in raw else raw
    if text.get("model_type") not in ("mistral", "bidir_mistral"):
        problem = f"is of the architecture {text.get('model_type')!r}, not NV-Embed's Mistral"
        raise InputError(problem, file=source, fix="give nvidia/NV-Embed-v1 or a folder of its form")
    config = MistralConfig.from_dict({key: value for key, value in text.items() if key != "model_type"})
    config.sliding_window = None  # NV-Embed's own code looks at whole texts, whatever window its base has
    return config


def load_body(body: torch.nn.Module, source: str | Path) -> None:
    """Copy `embedding_model.*` of an NV-Embed checkpoint; every one must fit."""
    if not any(name.startswith(BODY) for name in Checkpoint(source).names()):
        raise InputError(f"has no weights {BODY}*", file=source, fix="give nvidia/NV-Embed-v1 or a folder of its form")
    load_strictly(body, source, rename=lambda name: name.removeprefix(BODY), unused=(rf"^{LATENT}",))


def same_vocabulary(tokenizer: Any, nv_embed: str | Path) -> None:
    """Raise where a token that both tokenizers have is not the same row of the embedding."""
    own, other = tokenizer.get_vocab(), fast_tokenizer(nv_embed).get_vocab()
    unlike = [token for token, number in other.items() if own.get(token, number) != number]
    if unlike or not own.keys() & other.keys():
        problem = f"numbers {len(unlike)} tokens otherwise than LLaVA-Next's tokenizer, {unlike[:3]} among them"
        raise InputError(problem, file=nv_embed, fix="take checkpoints of one tokenizer")


def _body(config: Any) -> Any:
    from transformers import MistralModel

    register()
    config._attn_implementation = PACKED
    return MistralModel(config)

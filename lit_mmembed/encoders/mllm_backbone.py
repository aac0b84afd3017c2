"""What `MllmEncoder` needs of a multimodal LLM: a new backbone is one file with this class and one YAML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.mllm_preprocess import ImageInput
from lit_mmembed.encoders.packing import Packing
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DType = Literal["float32", "bfloat16", "float16"]
SOURCE_FOLDER = "backbone"
"""Where a model folder keeps a backbone's configuration, tokenizer and processor."""


class MllmBackbone(nn.Module, ABC):
    """A language model with, where it has one, a frozen vision tower and a projector between them.

    The constructor's first argument names a checkpoint: a folder, or a name on the hub. Its `weights` argument says
    whether the weights are loaded (they are not when a model folder brings its own).
    """

    width: int
    """Of the language model's hidden states."""
    tokenizer: Any
    """A fast tokenizer of transformers."""
    images: ImageInput | None = None
    language_model: nn.Module
    """The body, without a head, its attention set to `packing.PACKED`."""
    from_checkpoint = True
    """Its weights are those of the checkpoint that `source_args` names: a model folder need not keep them."""

    @abstractmethod
    def projector(self) -> nn.Module | None:
        """Return what maps vision features into the language model: trained whole."""

    @abstractmethod
    def vision(self, features: Features) -> Tensor:
        """Return the frozen vision tower's features [P, ...] of `pixels`, part by part."""

    @abstractmethod
    def project(self, vision: Tensor, features: Features) -> Tensor:
        """Return the image tokens [sum of image_tokens, D] of all images, in order."""

    @abstractmethod
    def init_args(self, folder: Path) -> dict[str, Any]:
        """Write configuration, tokenizer and processor into `folder`; return arguments that rebuild without weights."""

    @abstractmethod
    def source_args(self) -> dict[str, Any]:
        """Return the arguments that this was built with: what an adapter's folder keeps."""

    def positions(self, features: Features, packing: Packing) -> Tensor:
        """Return the position ids that the language model takes: [1, T], from 0 in each row."""
        return packing.position.unsqueeze(0)

    def embed(self, tokens: Tensor, image_token: Tensor) -> Tensor:
        """Return token embeddings [T, D]; where `image_token` they are overwritten, and id 0 is looked up."""
        return self.language_model.get_input_embeddings()(tokens.long().masked_fill(image_token, 0))  # type: ignore[operator]


class TextBackbone(MllmBackbone):
    """A backbone without images."""

    def projector(self) -> None:
        """Return None."""
        return

    def vision(self, features: Features) -> Tensor:
        """Never called: the preprocessing refuses images."""
        raise InputError("this model only reads text", fix="take a backbone with a vision tower")

    def project(self, vision: Tensor, features: Features) -> Tensor:
        """Never called."""
        raise InputError("this model only reads text", fix="take a backbone with a vision tower")


def refuse_sliding_window(config: Any, longest: int, where: str | Path) -> None:
    """Raise where rows may be longer than a sliding window: the packed attention looks at whole rows."""
    window = getattr(config, "sliding_window", None)
    if window is not None and longest > window:
        problem = f"attends within {window} tokens, rows may have {longest}"
        raise InputError(problem, file=where, fix="lower the lengths, or the image's resolution")


def fast_tokenizer(path: str | Path) -> Any:
    """Load a checkpoint's tokenizer; it must be a fast one, which knows where in the prompt each token lies."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(path))
    except (OSError, ValueError) as missing:
        fix = "the folder must hold tokenizer.json and tokenizer_config.json"
        raise InputError(f"no tokenizer: {str(missing).splitlines()[0]}", file=path, fix=fix) from None
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("the tokenizer is a slow one", file=path, fix="convert it to a tokenizer.json")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer

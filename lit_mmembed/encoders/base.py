"""What every retriever backbone is: a module that turns features into unit vectors, with a `preprocess` to make them.

To add a backbone, write one file beside this one and a YAML with its `class_path`; `tests/contracts/test_encoder.py`
holds what it must obey.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from lit_mmembed.types import EncoderRow, Features


class Preprocess(Protocol):
    """Turns rows into features. It is pickled into DataLoader workers, so it holds no parameters of the model."""

    def __call__(self, rows: Sequence[EncoderRow]) -> Features:
        """Prompt, tokenize and decode `rows`; the features' first dimension need not be their number."""
        ...

    def length(self, row: EncoderRow) -> int:
        """Estimate the tokens that a row costs, for sorting and for batches by token budget."""
        ...


class Encoder(nn.Module, ABC):
    """A bi-encoder's backbone: the same weights for queries and documents."""

    dimension: int
    preprocess: Preprocess

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Return unit vectors [n, dimension], one per row that `preprocess` was given, in its order."""

    @abstractmethod
    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return constructor arguments that rebuild this encoder offline, before its weights are loaded.

        Side files that the constructor reads (a tokenizer) are written into `folder`; their paths are given relative
        to it. No argument may name a download.
        """

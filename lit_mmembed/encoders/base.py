"""What every retriever backbone is: a module that turns features into unit vectors, with a `preprocess` to make them.

To add a backbone, write one file beside this one and a YAML with its `class_path`; `tests/contracts/test_encoder.py`
holds what it must obey.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from lit_mmembed.types import EncoderRow, Features, Side


class Preprocess(Protocol):
    """Turns rows into features. It is pickled into DataLoader workers, so it holds no parameters of the model."""

    def __call__(self, rows: Sequence[EncoderRow]) -> Features:
        """Prompt, tokenize and decode `rows`; the features' first dimension need not be their number."""
        ...

    def lengths(self, characters: np.ndarray, images: np.ndarray, side: Side) -> np.ndarray:
        """Estimate the tokens that rows cost, for batches by token budget.

        Args:
            characters: [n] of text and instruction together.
            images: [n] bool, whether the row has one.
            side: Whose limits hold.

        Returns:
            [n] int64, images expanded.
        """
        ...


class Encoder(nn.Module, ABC):
    """A bi-encoder's backbone: the same weights for queries and documents.

    `costs`, `select` and `frozen_part` are what a cached step needs: it embeds a batch in chunks, twice.
    """

    dimension: int
    preprocess: Preprocess
    base: str | None = None
    """`pretrained.base_fingerprint`, kept where the weights can't be read whole any more (sharded)."""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """Return unit vectors [n, dimension], one per row that `preprocess` was given, in its order."""

    @abstractmethod
    def costs(self, features: Features) -> Tensor:
        """Return the tokens of each row, [n] int64: what a chunk's budget counts."""

    @abstractmethod
    def select(self, features: Features, rows: Tensor) -> Features:
        """Return the features of some rows, [m] int64, in that order; also of what `frozen_part` returned."""

    def frozen_part(self, features: Features) -> Features:
        """Compute what no gradient reaches, so that it is not computed again; `forward` takes the result too."""
        return features

    def blocks(self) -> list[nn.Module]:
        """Return the modules, called once per forward pass each, whose weights FSDP2 gathers one by one."""
        return []

    def own_names(self) -> set[str] | None:
        """Return the weights that a model folder keeps; None: all. The rest comes from what `init_args` names."""
        return None

    @abstractmethod
    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return constructor arguments that rebuild this encoder offline, before its weights are loaded.

        Side files that the constructor reads (a tokenizer) are written into `folder`; their paths are given relative
        to it. No argument may name a download, unless `own_names` leaves weights to it.
        """

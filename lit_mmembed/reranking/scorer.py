"""What reranking needs of a model: the difference of two logits for each question about a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lit_mmembed.reranking.prompts import Questions


class Prepared(Protocol):
    """A query's questions, tokenized, their images decoded."""

    @property
    def tokens(self) -> int:
        """What they cost of a batch's budget."""
        ...


class Scorer(Protocol):
    """Answers questions. `prepare` may run in a thread, ahead of `margins`."""

    def prepare(self, questions: Questions) -> Any:
        """Return the questions of a query as `margins` takes them (a `Prepared`).

        Raises:
            InputError: a prompt is longer than the model's context, or an image is broken.
        """
        ...

    def margins(self, prepared: Sequence[Any]) -> list[np.ndarray]:
        """Return for each query the logits of "True" minus those of "False" [documents] float32."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what a run record keeps of the model and of how it was asked."""
        ...


def probability(margins: np.ndarray) -> np.ndarray:
    """Return P(True) of margins, the softmax over both logits, in float32."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-np.asarray(margins, dtype=np.float64)))).astype(np.float32)


class _Labels:
    def __init__(self, questions: Questions) -> None:
        self.relevant = np.array(questions.relevant)
        self.tokens = len(questions.prompts)


class Oracle:
    """Answers by the labels: the best that reranking these documents could do."""

    def prepare(self, questions: Questions) -> _Labels:
        """Keep the labels."""
        return _Labels(questions)

    def margins(self, prepared: Sequence[_Labels]) -> list[np.ndarray]:
        """Return infinity for answers, minus infinity for the others."""
        return [np.where(labels.relevant, np.inf, -np.inf).astype(np.float32) for labels in prepared]

    def record(self) -> dict[str, Any]:
        """Say that labels were used."""
        return {"scorer": "Oracle"}

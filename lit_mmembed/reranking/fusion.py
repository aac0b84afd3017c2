"""One score of two: what the retriever says and what the reranker answers, mixed by a weight chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

Transform = Literal["probability", "logit"]
TRANSFORMS: tuple[Transform, ...] = get_args(Transform)
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
FARTHEST = 1e4
"""Margins are clipped here: the oracle's are infinite."""
INFINITE = float(np.finfo(np.float32).max)
"""An infinite retrieval score counts as this."""


@dataclass(frozen=True)
class Fusion:
    """(1 - weight) r + weight a.

    r is the retrieval score, spread over 0 to 1 among the documents of a query that are reranked. a is P(True), or the
    difference of the logits, spread in the same way.
    """

    weight: float
    transform: Transform = "probability"

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"the fusion weight {self.weight} is not between 0 and 1", fix="give 0 to 1")
        if self.transform not in TRANSFORMS:
            raise InputError(f"there is no transform {self.transform!r}", fix=f"one of {', '.join(TRANSFORMS)}")

    def scores(self, retrieval: np.ndarray, margins: np.ndarray) -> np.ndarray:
        """Return the fused scores [documents] float32, between 0 and 1, of one query."""
        from lit_mmembed.reranking.scorer import probability

        answer = probability(margins) if self.transform == "probability" else _spread(margins, FARTHEST)
        return ((1 - self.weight) * _spread(retrieval) + self.weight * answer).astype(np.float32)


class Judged(NamedTuple):
    """One query of a validation ranking."""

    task: str
    cutoff: int
    """k of the task's headline hit@k."""
    retrieval: np.ndarray
    """[documents] retrieval scores, best first."""
    margins: np.ndarray
    relevant: np.ndarray
    """[documents] bool."""


def choose(judged: Sequence[Judged]) -> tuple[Fusion, list[dict[str, Any]]]:
    """Try every weight and transform; return the best, and what each scored.

    The best has the highest mean over tasks of hit@k at each task's own k; among equals the highest mean reciprocal
    rank, then the smallest weight.

    Raises:
        InputError: no document is labelled as an answer, as on a test split whose labels are kept back.
    """
    if not any(query.relevant.any() for query in judged):
        raise no_labels()
    tried = [Fusion(weight, transform) for transform in TRANSFORMS for weight in WEIGHTS]
    measured = [_measured(fusion, judged) for fusion in tried]
    best = max(range(len(tried)), key=lambda place: (*measured[place], -tried[place].weight))  # the first of equals
    grid = [{**asdict(fusion), "hit": hit, "mrr": mrr} for fusion, (hit, mrr) in zip(tried, measured, strict=True)]
    return tried[best], grid


def no_labels(run: Path | None = None) -> InputError:
    """Return the error of choosing where every weight is as good as the next."""
    problem = "of the documents that are asked about none is labelled as an answer: no weight is better than another"
    return InputError(problem, file=run, fix="choose it on a split with labels, such as val")


def read_fusion(path: str | Path, *, data_hash: str, split: str) -> Fusion:
    """Read what `--choose-weight` wrote.

    Raises:
        InputError: it is no such file, or was chosen on the very queries that it is to be used on.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"weight", "transform", "split", "data_hash"} <= content.keys():
        raise InputError("is not a chosen weight", file=path, fix="make it with --choose-weight")
    if (content["data_hash"], content["split"]) == (data_hash, split):
        fix = "choose on validation and use it on test; or give --fusion-weight to set one yourself"
        raise InputError(f"was chosen on these queries ({split})", file=path, fix=fix)
    return Fusion(content["weight"], content["transform"])


def fusion_content(fusion: Fusion, grid: list[dict[str, Any]], **what: Any) -> dict[str, Any]:
    """Return what the file of a chosen weight holds."""
    return {**asdict(fusion), "grid": grid, "metric": "mean over tasks of hit@k, then MRR", **what}


def _measured(fusion: Fusion, judged: Sequence[Judged]) -> tuple[float, float]:
    found: dict[str, list[tuple[float, float]]] = {}
    for query in judged:
        order = np.argsort(-fusion.scores(query.retrieval, query.margins), kind="stable")
        ranks = np.flatnonzero(query.relevant[order]) + 1
        hit, reciprocal = (float(ranks[0] <= query.cutoff), 1 / ranks[0]) if len(ranks) else (0.0, 0.0)
        found.setdefault(query.task, []).append((hit, reciprocal))
    means = np.array([np.mean(values, axis=0) for values in found.values()])
    return tuple(float(value) for value in means.mean(axis=0))  # type: ignore[return-value]


def _spread(values: np.ndarray, farthest: float = INFINITE) -> np.ndarray:
    """Return values, clipped, over 0 to 1; where all are equal, 1."""
    values = np.clip(np.asarray(values, dtype=np.float64), -farthest, farthest)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.ones_like(values)

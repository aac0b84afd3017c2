"""`mmembed fit-reranker`: a `fit` of `RerankerModule` on `RerankingData`."""

from __future__ import annotations

from lit_mmembed.reranking.lists import RerankingData
from lit_mmembed.training.reranker import RerankerModule

CLASSES: tuple[type, type] = (RerankerModule, RerankingData)
"""The module and the data."""

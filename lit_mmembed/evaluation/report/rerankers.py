"""The rerankers of a reranking study, by the label `reranker` of its evaluations."""

from __future__ import annotations

from lit_mmembed.evaluation.report.stage import NOT_RERANKED

LIKE_THE_PAPERS = ("zero-shot", "7B", "34B")
"""Rerankers that were not trained, as the paper's."""
ORDER = (NOT_RERANKED, *LIKE_THE_PAPERS, "trained", "trained, fused", "oracle")


def reranker_order(name: str) -> tuple[int, str]:
    """Retrieval first, then zero-shot ones, trained ones, the oracle, others by name."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)

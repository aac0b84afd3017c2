"""The library mteb, tasks of its in memory, and models to drive with it; mteb is imported by the fixture alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lit_mmembed.evaluation.mteb.embedding import Embedding
from lit_mmembed.evaluation.mteb.model import MtebRetriever
from lit_mmembed.evaluation.mteb.prompts import Prompts
from lit_mmembed.evaluation.mteb.protocol import load_mteb

DOCUMENTS = [
    {"id": "d1", "title": "Foxes", "text": " A red fox sleeps. "},
    {"id": "d2", "title": "", "text": "The capital of France is Paris."},
    {"id": "d3", "title": "Cats", "text": ""},
    {"id": "d4", "title": None, "text": "Two cats on a mat, and much else that makes this text the longest one."},
    {"id": "d5", "title": "", "text": ""},
]
QUERIES = [{"id": "q1", "text": "red fox"}, {"id": "q2", "text": "cats on a mat"}]
RELEVANT = {"q1": {"d1": 1}, "q2": {"d4": 2, "d3": 1}}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """mteb, with its own folder among the tests' temporary ones."""
    return load_mteb(tmp_path_factory.mktemp("mteb_cache"))


def text_task(
    name: str = "TinyTask",
    *,
    documents: list[dict] = DOCUMENTS,
    queries: list[dict] = QUERIES,
    relevant: dict[str, dict[str, int]] = RELEVANT,
    prompt: Any = None,
    top_ranked: dict[str, list[str]] | None = None,
) -> Any:
    """A task of mteb's own class, in memory."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class Task(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name,
            description="",
            dataset={"path": "none/none", "revision": "1"},
            type="Reranking" if top_ranked else "Retrieval",
            category="t2t",
            modalities=["text"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            prompt=prompt,
        )
        load_data = loader(documents=documents, queries=queries, relevant=relevant, top_ranked=top_ranked)

    return Task()


def loader(
    *, documents: Any = DOCUMENTS, queries: Any = QUERIES, relevant: Any = RELEVANT, top_ranked: Any = None
) -> Any:
    """A `load_data` that reads nothing."""
    from datasets import Dataset

    def load_data(task: Any, *unused: Any, **named: Any) -> None:
        parts = {
            "corpus": Dataset.from_list(documents),
            "queries": Dataset.from_list(queries),
            "relevant_docs": {qid: dict(judged) for qid, judged in relevant.items()},
            "top_ranked": top_ranked,
        }
        task.dataset, task.data_loaded = {"default": {task.eval_splits[0]: parts}}, True

    return load_data


def retriever(encoder: Any, folder: Path, policy: str = "mteb", **embedding: Any) -> MtebRetriever:
    """The encoder as mteb drives it; stores keep float32."""
    return MtebRetriever(encoder, folder, prompts=Prompts(policy), embedding=Embedding(dtype="float32", **embedding))


def encoding_only(model: MtebRetriever) -> Any:
    """The same model without its search: mteb then searches by itself."""
    names = ("encode", "similarity", "similarity_pairwise", "mteb_model_meta")
    return SimpleNamespace(**{name: getattr(model, name) for name in names})


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each forward pass embeds, from now on."""
    from lit_mmembed.evaluation.mteb import embedding

    embed: Callable[..., Any] = embedding._vectors
    counts: list[int] = []

    def counted(encoder: Any, batch: Any, settings: Any) -> Any:
        counts.append(len(batch.rows))
        return embed(encoder, batch, settings)

    monkeypatch.setattr(embedding, "_vectors", counted)
    return counts

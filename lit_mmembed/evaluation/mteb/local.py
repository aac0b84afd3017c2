"""The tasks of a data directory as tasks of mteb, in memory: the library itself scores them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, Features, Image, Value
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.names import LOCAL
from lit_mmembed.evaluation.mteb.prompts import Asked
from lit_mmembed.evaluation.qrels import Qrels, read_qrels
from lit_mmembed.types import MODALITIES, Modality, Task

LETTERS = {Modality.TEXT: "t", Modality.IMAGE: "i", Modality.IMAGE_TEXT: "it"}
COLUMNS = {"t": ("text",), "i": ("image",), "it": ("image", "text")}
UNROUNDED = {"ndcg_cut": "ndcg", "map_cut": "map", "recall": "recall", "P": "precision", "success": "hit_rate"}
"""pytrec_eval's names -> mteb's."""
SUBSET = "default"


class LocalMetadata(TaskMetadata):
    """mteb's metadata of a task, with what `TaskRows` asks."""

    verbatim: ClassVar[bool] = True


class LocalTask(AbsTaskRetrieval):
    """A task/dataset pair of a data directory.

    mteb rounds means to five decimals; here they are the unrounded means of its own values per query.
    """

    def __init__(
        self, metadata: TaskMetadata, content: RetrievalSplitData, *, asked: Asked, pool: str, k: Iterable[int]
    ) -> None:
        self.metadata = metadata
        self.k_values = tuple(sorted(k))
        super().__init__()
        self.asked, self.pool = asked, pool
        self._content = content

    def load_data(self, num_proc: int | None = None, **unused: Any) -> None:
        """Hand out what is in memory; mteb drops it after the evaluation, and a second one finds it again."""
        self.dataset = {SUBSET: {self.metadata.eval_splits[0]: self._content.copy()}}
        self.data_loaded = True

    def unload_data(self) -> None:
        """Forget the data set but not the metadata, which mteb would take from the class."""
        self.dataset, self.data_loaded = {}, False

    def task_specific_scores(
        self, scores: Mapping[str, Mapping[str, float]], *unused: Any, **named: Any
    ) -> dict[str, float]:
        """The means of every metric over queries, in place of the rounded ones."""
        means = {}
        for trec, name in UNROUNDED.items():
            for k in self.k_values:
                means[f"{name}_at_{k}"] = float(np.mean([one[f"{trec}_{k}"] for one in scores.values()]))
        return means


def in_memory_tasks(
    data: str | Path, split: str = "test", *, pool: str = "local", k: Iterable[int] = (1, 5, 10)
) -> list[LocalTask]:
    """Turn the tasks of a data directory into tasks of mteb that lie in memory, images as their files' bytes.

    Args:
        data: What `mmembed shard` made.
        split: Which queries; tasks without any are left out.
        pool: "local": each task's own pool; "global": all documents of the split.
        k: Cut-offs; 1, 10 and each task's own are added.

    Raises:
        InputError: no such split; a pool of another name.
    """
    if pool not in ("local", "global"):
        raise InputError(f"pool {pool!r} is unknown", fix='give "local" or "global"')
    directory = DataDirectory(data)
    queries, documents = directory.queries(split), directory.candidates(split)
    qrels = read_qrels(directory.qrels_path(split))
    pools = directory.pools(split) if pool == "local" else {}
    wordings = Instructions.load(directory.instructions_path) if directory.instructions_path else None
    tasks = []
    for index, task in enumerate(directory.tasks):
        rows = np.flatnonzero(np.asarray(queries.task) == index)
        if not len(rows):
            continue
        pool_rows = np.sort(pools[task.name]) if pools else np.arange(len(documents))
        asked = Asked(wordings.wordings(task)[0] if wordings else None, task, LOCAL)
        letters = _letters(queries.modality[rows]), _letters(documents.modality[pool_rows])
        content = RetrievalSplitData(
            corpus=_table(documents, pool_rows, letters[1]),
            queries=_table(queries, rows, letters[0]),
            relevant_docs=_relevant(qrels, set(queries.ids[rows])),
            top_ranked=None,
        )
        metadata = _metadata(directory, task, "2".join(letters), split=split, pool=pool, prompt=asked.instruction)
        tasks.append(LocalTask(metadata, content, pool=pool, asked=asked, k={1, 10, *k, task.cutoff}))
    return tasks


def _letters(codes: np.ndarray) -> str:
    """mteb's letters of what a side has: "it" also where some rows are texts and others images."""
    kinds = [MODALITIES[code] for code in np.unique(codes)]
    return LETTERS[kinds[0]] if len(kinds) == 1 else "it"


def _table(reader: ShardReader, rows: np.ndarray, letters: str) -> Dataset:
    columns: dict[str, list[Any]] = {"id": [], **{name: [] for name in COLUMNS[letters]}}
    for row in rows.tolist():
        sample = reader[row]
        columns["id"].append(sample.id)
        if "text" in columns:
            columns["text"].append(sample.text)
        if "image" in columns:
            columns["image"].append(None if sample.image is None else {"bytes": sample.image, "path": None})
    kinds = {"id": Value("string"), "text": Value("string"), "image": Image()}
    return Dataset.from_dict(columns, features=Features({name: kinds[name] for name in columns}))


def _relevant(qrels: Qrels, qids: set[str]) -> dict[str, dict[str, int]]:
    relevant: dict[str, dict[str, int]] = {}
    for query, document, relevance in zip(qrels.query, qrels.document, qrels.relevance, strict=True):
        if (qid := qrels.query_ids[query]) in qids:
            relevant.setdefault(qid, {})[qrels.document_ids[document]] = int(relevance)
    return relevant


def _metadata(
    directory: DataDirectory, task: Task, category: str, *, split: str, pool: str, prompt: str | None
) -> TaskMetadata:
    letters = set(category.replace("2", ""))
    return LocalMetadata(
        name=task.name,
        description=f"{task.name} of {directory.name}",
        dataset={"path": f"{directory.name}/{pool}", "revision": directory.hash},
        type="Retrieval" if letters == {"t"} else "Any2AnyRetrieval",
        category=category,
        modalities=[name for name, letter in (("image", "i"), ("text", "t")) if letter in letters],
        eval_splits=[split],
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
        prompt={"query": prompt} if prompt else None,
    )

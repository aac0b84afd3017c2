"""Pairs of texts out of a multimodal data directory: what a text retriever can be trained on before it sees images.

Two kinds, both from the split's own samples only: a question with the passage that answers it (a query of text alone
and the text of each positive), and two captions of the same picture (a text that asks for a picture, and the captions
that the picture asks for).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.data.directory import DataDirectory, task_row
from lit_mmembed.data.instructions import COLUMNS, Instructions
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder, write_json
from lit_mmembed.types import Modality, Sample, Task

SPLITS = ("train", "val")
TEXT_TASK, PAPER_TEXT_TASK = 1, 2
"""M-BEIR's and the paper's number of text to text."""
CAPTION_WORDINGS = (
    "Find another caption of the same picture.",
    "Retrieve different words for what this text describes.",
)


class Pair(NamedTuple):
    """Two texts that belong together."""

    dataset: str
    query: str
    positive: str


def write_text_pairs(data: str | Path, out: str | Path) -> Path:
    """Write a folder for `mmembed shard --source jsonl`: queries, candidates, tasks and instructions.

    The pool of a split is all its documents of text alone, and the texts of the positives.

    Raises:
        InputError: the directory has no pair of texts.
    """
    directory = DataDirectory(data)
    splits = [split for split in SPLITS if split in directory.splits]
    pairs = {split: list(dict.fromkeys(_pairs(directory, split))) for split in splits}
    datasets = {pair.dataset for found in pairs.values() for pair in found}
    if not datasets:
        raise InputError("has no pair of texts", file=data, fix="take a directory with text -> text, or with captions")
    tasks = _tasks(directory, datasets)
    documents = _Documents({task.dataset: task.dataset_id for task in tasks})
    merged = [(split, *group) for split in splits for group in _merged(pairs[split])]
    queries = [_query(number, *group, tasks, documents) for number, group in enumerate(merged, start=1)]
    for split in splits:
        for sample in directory.candidates(split):
            dataset = _dataset(sample.id, directory)
            if sample.modality is Modality.TEXT and sample.text and dataset in datasets:
                documents.id_of(dataset, sample.text, split)
    with atomic_folder(out, replace=True) as partial:
        write_json(partial / "tasks.json", [task_row(task) for task in tasks])
        (partial / "instructions.tsv").write_text(_instructions(directory, tasks), encoding="utf-8")
        for name, rows in (("queries", queries), ("candidates", documents.rows())):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            (partial / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        if directory.manifest.get("licences"):
            (partial / "licences.txt").write_text("\n".join(directory.manifest["licences"]) + "\n", encoding="utf-8")
    return Path(out)


class _Documents:
    """Every text once, with the splits whose pool it is in."""

    def __init__(self, datasets: dict[str, int]) -> None:
        self._datasets = datasets
        self._found: dict[tuple[str, str], tuple[str, list[str]]] = {}

    def id_of(self, dataset: str, text: str, split: str) -> str:
        name = f"{self._datasets[dataset]}:{len(self._found) + 1}"
        did, splits = self._found.setdefault((dataset, text), (name, []))
        if split not in splits:
            splits.append(split)
        return did

    def rows(self) -> list[dict[str, Any]]:
        return [{"id": did, "text": text, "split": splits} for (_, text), (did, splits) in self._found.items()]


def _pairs(directory: DataDirectory, split: str) -> Iterator[Pair]:
    """Read the queries twice, as their images would fill the memory: for the captions of pictures, then for pairs."""
    queries, candidates = directory.queries(split), directory.candidates(split)
    captions: dict[bytes, set[str]] = defaultdict(set)
    for query in queries:
        if query.modality is Modality.IMAGE and query.image is not None:
            captions[_digest(query.image)] |= {text for did in query.positives if (text := candidates.by_id(did).text)}
    for query in queries:
        if query.modality is not Modality.TEXT:
            continue
        for did in query.positives:
            yield from _pairs_of(query, candidates.by_id(did), captions, directory)


def _pairs_of(
    query: Sample, positive: Sample, captions: dict[bytes, set[str]], directory: DataDirectory
) -> Iterator[Pair]:
    dataset = directory.task(str(query.task)).dataset
    if positive.text:
        yield Pair(dataset, str(query.text), positive.text)
    elif positive.image is not None:
        for caption in sorted(captions.get(_digest(positive.image), set()) - {str(query.text)}):
            yield Pair(dataset, str(query.text), caption)


def _digest(image: bytes) -> bytes:
    return hashlib.blake2b(image, digest_size=16).digest()


def _merged(pairs: list[Pair]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (dataset, query, all its positives)."""
    positives: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pair in pairs:
        positives[pair.dataset, pair.query].append(pair.positive)
    for (dataset, query), texts in positives.items():
        yield dataset, query, texts


def _query(
    number: int,
    split: str,
    dataset: str,
    text: str,
    positives: list[str],
    tasks: tuple[Task, ...],
    documents: _Documents,
) -> dict[str, Any]:
    (task,) = (task for task in tasks if task.dataset == dataset)
    ids = [documents.id_of(dataset, positive, split) for positive in positives]
    qid = f"{task.dataset_id}:{number}"
    return {"id": qid, "text": text, "positives": ids, "split": split, "task": task.name}


def _tasks(directory: DataDirectory, datasets: set[str]) -> tuple[Task, ...]:
    numbers = {task.dataset: task.dataset_id for task in directory.tasks if task.dataset in datasets}
    both = (Modality.TEXT, Modality.TEXT)
    return tuple(Task(name, number, TEXT_TASK, PAPER_TEXT_TASK, *both) for name, number in numbers.items())


def _dataset(sample_id: str, directory: DataDirectory) -> str:
    """Return the dataset whose number stands in front of an M-BEIR id."""
    number = sample_id.partition(":")[0]
    return next((task.dataset for task in directory.tasks if str(task.dataset_id) == number), "")


def _instructions(directory: DataDirectory, tasks: tuple[Task, ...]) -> str:
    known = Instructions.load(directory.instructions_path) if directory.instructions_path else None
    own = {task.name for task in directory.tasks} if known else set()
    lines = ["\t".join(COLUMNS)]
    for task in tasks:
        wordings = known.wordings(task) if known and task.name in own else CAPTION_WORDINGS
        lines.append("\t".join(["text", "text", task.dataset, str(task.dataset_id), *wordings]))
    return "\n".join(lines) + "\n"

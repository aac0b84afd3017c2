"""What a text-to-text set is, what it must obey, and how it is written in BEIR's form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.data.sources.emoji_beir.draws import number
from lit_mmembed.errors import InputError

SPLITS = ("train", "dev", "test")
QRELS_HEADER = "query-id\tcorpus-id\tscore"
SHARES = {"dev": 0.14, "test": 0.19}
"""Which part of the things that are asked about belongs to each evaluation split."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One document of the pool that all splits share."""

    id: str
    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One query of one split."""

    id: str
    text: str
    positives: tuple[str, ...]
    """Ids of passages."""


@dataclass(frozen=True, slots=True)
class TextSet:
    """One set: a pool and the questions of each split."""

    name: str
    number: int
    """The dataset number in `texts.yaml`."""
    folder: str
    instructions: tuple[str, ...]
    passages: tuple[Passage, ...]
    questions: dict[str, tuple[Question, ...]]
    """Split to questions."""


def split_of(seed: int, *name: object) -> str:
    """Say which split a thing belongs to: a pure function of the seed and its name."""
    place = number(seed, "split", *name) / 2**64
    if place < SHARES["dev"]:
        return "dev"
    return "test" if place < SHARES["dev"] + SHARES["test"] else "train"


def numbered(prefix: str, asked: Iterable[tuple[str, Sequence[str]]]) -> tuple[Question, ...]:
    """Give each (text, positives) an id; equal texts become one question with all their positives."""
    positives: dict[str, dict[str, None]] = {}
    for text, ids in asked:
        positives.setdefault(text, {}).update(dict.fromkeys(ids))
    return tuple(Question(f"{prefix}-{n}", text, tuple(ids)) for n, (text, ids) in enumerate(positives.items(), 1))


def capital_first(text: str) -> str:
    """Write the first letter large."""
    return text[:1].upper() + text[1:]


def read_wordings(name: str) -> dict[str, Any]:
    """Read `NAME.yaml`, the templates beside this file."""
    wordings: dict[str, Any] = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    return wordings


def check(text_set: TextSet) -> None:
    """Raise InputError when two passages are the same, a positive is missing, or a text is asked in two splits."""
    ids = {passage.id for passage in text_set.passages}
    texts = {(passage.title, passage.text) for passage in text_set.passages}
    if len(ids) < len(text_set.passages) or len(texts) < len(text_set.passages):
        raise InputError("has two passages with one id or text", record=text_set.name)
    asked: dict[str, str] = {}
    for split in SPLITS:
        for question in text_set.questions[split]:
            if not question.positives or not ids.issuperset(question.positives):
                raise InputError("has a question without its passage", record=f"{text_set.name} {question.id}")
            if asked.setdefault(question.text, split) != split:
                raise InputError("asks the same in two splits", record=f"{text_set.name} {question.id}")


def write_sets(name: str, sets: Sequence[TextSet], folder: Path) -> None:
    """Write `texts.yaml` and one BEIR folder per set: corpus.jsonl, queries.jsonl, qrels/{train,dev,test}.tsv."""
    rows = []
    for text_set in sets:
        check(text_set)
        _write_beir(text_set, folder / text_set.folder)
        rows.append(
            {
                "name": text_set.name,
                "id": text_set.number,
                "format": "beir",
                "path": text_set.folder,
                "instructions": list(text_set.instructions),
            }
        )
    listed = yaml.safe_dump({"name": name, "datasets": rows}, sort_keys=False, allow_unicode=True, width=1000)
    (folder / "texts.yaml").write_text(listed, encoding="utf-8")


def _write_beir(text_set: TextSet, folder: Path) -> None:
    _write_jsonl(folder / "corpus.jsonl", ({"_id": p.id, "title": p.title, "text": p.text} for p in text_set.passages))
    questions = [question for split in SPLITS for question in text_set.questions[split]]
    _write_jsonl(folder / "queries.jsonl", ({"_id": q.id, "text": q.text} for q in questions))
    (folder / "qrels").mkdir()
    for split in SPLITS:
        rows = [f"{q.id}\t{did}\t1" for q in text_set.questions[split] for did in q.positives]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join([QRELS_HEADER, *rows]) + "\n", encoding="utf-8")


def _write_jsonl(path: Path, records: Iterable[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8")

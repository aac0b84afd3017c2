"""Expands the compact layout that ships into every file that M-BEIR publishes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lit_mmembed.data.sources.emoji_beir.layout import (
    INSTRUCTIONS,
    UNION_TRAIN,
    global_pool,
    local_pool,
    qrels_file,
    query_file,
    write_jsonl,
)
from lit_mmembed.data.sources.emoji_beir.records import DATASET_IDS, TASKS
from lit_mmembed.data.sources.emoji_beir.splits import EVALUATION
from lit_mmembed.data.sources.emoji_beir.tarball import NAME, PARTS
from lit_mmembed.data.sources.emoji_beir.wordings import SPLITS
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder

UNION_VAL = "query/union_val/mbeir_union_val.jsonl"


def export_mbeir_layout(folder: str | Path, out: str | Path) -> None:
    """Write a new folder in M-BEIR's published layout from a built EmojiBEIR folder.

    Added to what is there: training queries per dataset, the union of the validation queries, the local pool of each
    task and evaluation split (named as M-BEIR names MSCOCO's, whose splits have pools of their own too).
    """
    folder = Path(folder)
    with atomic_folder(out) as target:
        for name in _kept_files():
            _copy(folder, target, name)
        _split_training_queries(folder, target)
        validation = [record for task in TASKS.values() for record in _read(folder / query_file(task.name, "val"))]
        write_jsonl(target / UNION_VAL, validation)
        for split in EVALUATION:
            pool = _read(folder / global_pool(split))
            for task in TASKS.values():
                write_jsonl(target / local_pool_file(task.name, split), local_pool(task.name, pool))


def local_pool_file(name: str, split: str) -> str:
    """Return where a task's local pool of an evaluation split lies in the published layout."""
    return f"cand_pool/local/mbeir_{name}_{split}_cand_pool.jsonl"


def train_file(dataset: str) -> str:
    """Return where a dataset's training queries lie in the published layout."""
    return f"query/train/mbeir_{dataset.lower()}_train.jsonl"


def _kept_files() -> list[str]:
    names = [task.name for task in TASKS.values()]
    return [
        UNION_TRAIN,
        INSTRUCTIONS,
        "tasks.json",
        "image_origins.tsv",
        "LICENCES",
        "licences.txt",
        *(f"{NAME}.part-{number:02d}" for number in range(PARTS)),
        *(global_pool(split) for split in SPLITS),
        *(query_file(name, split) for split in EVALUATION for name in names),
        *(qrels_file(name, split) for split in SPLITS for name in names),
    ]


def _copy(folder: Path, target: Path, name: str) -> None:
    source = folder / name
    if not source.exists():
        raise InputError("does not exist", file=source, fix="give a folder that build_emoji_beir made")
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target / name)
    else:
        shutil.copyfile(source, target / name)


def _split_training_queries(folder: Path, target: Path) -> None:
    records = _read(folder / UNION_TRAIN)
    for dataset, number in DATASET_IDS.items():
        own = [record for record in records if record["qid"].startswith(f"{number}:")]
        write_jsonl(target / train_file(dataset), own)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="give a folder that build_emoji_beir made") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as broken:
            raise InputError(f"is not JSON: {broken}", file=path, record=f"line {number}") from None
    return records

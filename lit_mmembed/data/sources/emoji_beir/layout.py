"""Writes a collection as M-BEIR's files: the compact layout that ships (local pools are derived, see `local_pool`)."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lit_mmembed.data.sources.emoji_beir.instructions import instruction_rows
from lit_mmembed.data.sources.emoji_beir.records import DATASET_IDS, TASKS, Collection, Document, Query, by_number
from lit_mmembed.data.sources.emoji_beir.splits import EVALUATION
from lit_mmembed.data.sources.emoji_beir.wordings import SPLITS
from lit_mmembed.files import write_json

UNION_TRAIN = "query/union_train/mbeir_union_up_train.jsonl"
INSTRUCTIONS = "instructions/query_instructions.tsv"


def write_layout(collection: Collection, folder: Path) -> None:
    """Write queries, pools, qrels, instructions and `tasks.json` into a folder."""
    numbered = number_queries(collection.queries)
    train = [record for query, record in numbered if query.split == "train"]
    write_jsonl(folder / UNION_TRAIN, train)
    for split in SPLITS:
        pool = sorted(collection.pools[split].values(), key=lambda document: by_number(document.did))
        write_jsonl(folder / global_pool(split), (candidate_record(document) for document in pool))
        for task in TASKS.values():
            records = [r for q, r in numbered if (q.split, q.task) == (split, task.mbeir_id)]
            if split in EVALUATION:
                write_jsonl(folder / query_file(task.name, split), records)
            write_lines(folder / qrels_file(task.name, split), (line for r in records for line in qrels_lines(r)))
    write_lines(folder / INSTRUCTIONS, instruction_rows().splitlines())
    write_json(folder / "tasks.json", [dataclasses.asdict(task) for task in TASKS.values()])


def query_file(name: str, split: str) -> str:
    """Return where a task's queries of an evaluation split lie."""
    return f"query/{split}/mbeir_{name}_{split}.jsonl"


def qrels_file(name: str, split: str) -> str:
    """Return where a task's judgements of a split lie."""
    return f"qrels/{split}/mbeir_{name}_{split}_qrels.txt"


def global_pool(split: str) -> str:
    """Return where all candidates of a split lie."""
    return f"cand_pool/global/mbeir_union_{split}_cand_pool.jsonl"


def number_queries(queries: Iterable[Query]) -> list[tuple[Query, dict[str, Any]]]:
    """Give each query its number within the dataset, from 1 over all splits, and its M-BEIR record."""
    counts: Counter[int] = Counter()
    numbered = []
    for query in queries:
        task = TASKS[query.task]
        counts[task.dataset_id] += 1
        record = {
            "qid": f"{task.dataset_id}:{counts[task.dataset_id]}",
            "query_txt": query.text,
            "query_img_path": query.image,
            "query_modality": task.query_modality,
            "query_src_content": None,
            "pos_cand_list": list(query.positives),
            "neg_cand_list": [],
            "task_id": query.task,
        }
        numbered.append((query, record))
    return numbered


def candidate_record(document: Document) -> dict[str, Any]:
    """Return a document's M-BEIR record."""
    return {
        "did": document.did,
        "txt": document.text,
        "img_path": document.image,
        "modality": document.modality,
        "src_content": None,
    }


def qrels_lines(record: dict[str, Any]) -> list[str]:
    """Return M-BEIR's five columns for each positive of a query record."""
    return [f"{record['qid']} 0 {did} 1 {record['task_id']}" for did in record["pos_cand_list"]]


def local_pool(name: str, candidates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose a task's local pool from a split's global pool: its dataset (the did's prefix) and candidate modality."""
    task = next(task for task in TASKS.values() if task.name == name)
    prefix = f"{DATASET_IDS[task.dataset]}:"
    return [c for c in candidates if c["did"].startswith(prefix) and c["modality"] == task.candidate_modality]


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one compact JSON object a line."""
    write_lines(path, (json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, each with a line break."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

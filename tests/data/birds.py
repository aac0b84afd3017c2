"""A benchmark of a wren and a robin: captions, facts, and a question over a picture."""

from __future__ import annotations

import json
from pathlib import Path

from lit_mmembed.data.sharding import shard
from tests.encoders.small import jpeg

TASKS = [
    ("Birds", 20, 0, 1, "text", "image"),
    ("Birds", 20, 3, 4, "image", "text"),
    ("Facts", 21, 1, 2, "text", "text"),
    ("Facts", 21, 2, 3, "text", "image,text"),
    ("Facts", 21, 6, 6, "image,text", "text"),
]
FIELDS = ("dataset", "dataset_id", "mbeir_id", "paper_id", "query_modality", "candidate_modality")
INSTRUCTIONS = (
    "query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\ntext\ttext\tFacts\t21\tFind the fact.\n"
)


def write_jsonl(folder, name, rows):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_birds(folder: Path) -> Path:
    """Shard a wren with two captions, and a fact alone, beside a picture, and asked over a picture."""
    for number in (1, 2):
        (folder / f"{number}.jpg").write_bytes(jpeg(number))
    (folder / "tasks.json").write_text(json.dumps([dict(zip(FIELDS, task, strict=True)) for task in TASKS]))
    (folder / "instructions.tsv").write_text(INSTRUCTIONS)
    documents = [
        {"id": "20:1", "image": "1.jpg"},
        {"id": "20:2", "text": "A small brown bird."},
        {"id": "20:3", "text": "A wren on a branch."},
        {"id": "20:4", "image": "2.jpg"},
        {"id": "21:1", "text": "Wrens weigh nine grams."},
        {"id": "21:2", "text": "Wrens lay six eggs.", "image": "1.jpg"},
        {"id": "21:3", "text": "Robins sing at night."},
    ]
    queries = [
        {"text": "A small brown bird.", "positives": ["20:1"], "task": "birds_task0"},
        {"text": "Something unknown.", "positives": ["20:4"], "task": "birds_task0"},
        {"image": "1.jpg", "positives": ["20:2", "20:3"], "task": "birds_task3"},
        {"text": "How heavy is a wren?", "positives": ["21:1"], "task": "facts_task1"},
        {"text": "How many eggs has a wren?", "positives": ["21:2"], "task": "facts_task2"},
        {"text": "How heavy is this?", "image": "1.jpg", "positives": ["21:1"], "task": "facts_task6"},
    ]
    splits = {"train": queries, "val": queries[:1] + queries[2:4], "test": queries[3:4]}
    numbered = [
        {"id": f"20:{split}{n}", "split": split, **query} for split in splits for n, query in enumerate(splits[split])
    ]
    write_jsonl(folder, "candidates", documents)
    write_jsonl(folder, "queries", numbered)
    return shard(source="jsonl", root=folder, out=folder / "shards")

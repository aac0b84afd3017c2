"""A text data directory whose ids are those of the tiny benchmark, and whose documents are others."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.birds import FIELDS, write_jsonl
from tests.tiny import WORDS, done

TASK = ("Words", 40, 1, 9, "text", "text")
COUNT = 12


def write_words(folder: Path, *, own_negatives: bool = True) -> Path:
    """Shard twelve questions to train on, each with its passage and, if asked for, two negatives of its own."""
    folder.mkdir(parents=True)
    (folder / "tasks.json").write_text(json.dumps([dict(zip(FIELDS, TASK, strict=True))]))
    header = "query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\n"
    (folder / "instructions.tsv").write_text(header + "text\ttext\tWords\t40\tFind the word.\n")
    documents = [{"id": f"8:{n}", "text": f"The word is {WORDS[n]}. " + "It is long. " * 30} for n in range(COUNT)]
    queries = []
    for n in range(COUNT):
        query = {"id": f"2:{n}", "text": f"Which word is {WORDS[n]}?", "positives": [f"8:{n}"], "split": "train"}
        if own_negatives:
            query["negatives"] = [f"8:{(n + step) % COUNT}" for step in (1, 2)]
        queries.append(query)
    write_jsonl(folder, "candidates", documents)
    write_jsonl(folder, "queries", queries)
    done("shard", "--source", "jsonl", "--root", folder, "--out", folder / "shards")
    return folder / "shards"

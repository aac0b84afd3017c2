"""The same small set of texts in every form that is read, and what a data directory says of it."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.directory import DataDirectory

WREN, ROBIN, OWL, CROW = "The wren sings.", "Robins hop.", "Owls hunt\nat night.", "Crows, they say, count."
SINGS, NIGHT = "Which bird sings?", "Who hunts, when it is dark?"
ASKED = {SINGS: ({WREN}, {ROBIN, OWL}), NIGHT: ({OWL, CROW}, {WREN})}
"""Query -> texts of its positives and of its negatives: what every form with negatives says."""

Said = dict[str, tuple[set[str], set[str]]]


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def said_by(directory: DataDirectory, split: str = "train") -> Said:
    """What a split's queries say, in texts."""
    texts = {sample.id: str(sample.text) for sample in directory.candidates(split)}
    found: Said = {}
    for query in directory.queries(split):
        assert query.text not in found
        found[str(query.text)] = ({texts[did] for did in query.positives}, {texts[did] for did in query.negatives})
    return found


def tevatron_old(root: Path) -> Path:
    def passage(did: str, text: str) -> dict[str, str]:
        title, _, rest = text.partition(" ")
        return {"docid": did, "title": title, "text": rest}

    rows = [
        {
            "query_id": "1",
            "query": SINGS,
            "positive_passages": [passage("w", WREN)],
            "negative_passages": [passage("r", ROBIN), passage("o", OWL)],
        },
        {
            "query_id": "2",
            "query": NIGHT,
            "positive_passages": [passage("o", OWL), passage("c", CROW)],
            "negative_passages": [{"docid": "w", "title": "", "text": WREN}],
        },
    ]
    return write_jsonl(root / "train.jsonl.gz", rows)


def tevatron_new(root: Path) -> Path:
    corpus = [{"docid": name, "text": text} for name, text in (("w", WREN), ("o", OWL), ("c", CROW))]
    corpus.append({"docid": "r", "title": "Robins", "text": "hop.", "image": None})
    write_jsonl(root / "corpus.jsonl", [*corpus, {"docid": 5, "text": "Nobody asks for this."}])
    rows = [
        {"query_id": "1", "query_text": SINGS, "query_image": None, "positive_document_ids": ["w"]},
        {"query_id": 2, "query_text": NIGHT, "positive_document_ids": ["o", "c"], "negative_document_ids": ["w"]},
        {"query_id": "1", "query_text": SINGS, "positive_document_ids": ["w"], "negative_document_ids": ["r", "o"]},
    ]
    write_jsonl(root / "train.jsonl", rows)
    return root


ROWS = [(SINGS, WREN, ROBIN), (NIGHT, OWL, WREN), (SINGS, WREN, OWL), (NIGHT, CROW, WREN)]


def triplets_objects(root: Path) -> Path:
    columns = ("anchor", "positive", "negative")
    return write_jsonl(root / "birds.jsonl", [dict(zip(columns, row, strict=True)) for row in ROWS])


def triplets_numbered(root: Path) -> Path:
    rows = [
        {"query": SINGS, "positive": WREN, "negative_1": ROBIN, "negative_2": OWL},
        {"query": NIGHT, "positive": OWL, "negative_1": WREN, "negative_2": None},
        {"query": NIGHT, "positive": CROW, "negative_1": None, "negative_2": None},
    ]
    return write_table(root / "birds.csv", rows)


def triplets_lists_in_fields(root: Path) -> Path:
    rows = [
        {"query": SINGS, "pos": [WREN], "neg": [ROBIN, OWL], "pos_scores": [1.0]},
        {"query": NIGHT, "pos": [OWL, CROW], "neg": WREN},
    ]
    return write_jsonl(root / "birds.jsonl", rows)


def triplets_lists(root: Path) -> Path:
    return write_jsonl(root / "birds.jsonl.gz", [[*ROWS[0], OWL], list(ROWS[1]), [NIGHT, CROW]])


def triplets_parquet(root: Path) -> Path:
    columns = ("anchor", "positive", "negative")
    rows = [dict(zip(columns, row, strict=True)) for row in ROWS]
    (root / "all").mkdir()
    write_table(root / "all/train-00000-of-00002.parquet", rows[:1])
    write_table(root / "all/train-00001-of-00002.parquet", rows[1:])
    return root


NLI = [
    (SINGS, WREN, "entailment"),
    (SINGS, ROBIN, "contradiction"),
    (SINGS, "It is a bird.", "neutral"),
    (NIGHT, OWL, "entailment"),
    (NIGHT, CROW, "entailment"),
    ("A premise that entails nothing.", WREN, "contradiction"),
    (NIGHT, "Unsure.", "-"),
    (SINGS, OWL, "contradiction"),
    (NIGHT, WREN, "contradiction"),
]


def nli_snli(root: Path) -> Path:
    columns = ("sentence1", "sentence2", "gold_label")
    write_jsonl(root / "snli_1.0_train.jsonl", [dict(zip(columns, row, strict=True)) for row in NLI])
    (root / "README.txt").write_text("not a file of rows")
    return root


def nli_numbers(root: Path) -> Path:
    codes = {"entailment": 0, "neutral": 1, "contradiction": 2, "-": -1}
    rows = [{"premise": one, "hypothesis": two, "label": codes[label]} for one, two, label in NLI]
    return write_table(root / "train.parquet", rows)


def nli_table(root: Path) -> Path:
    rows = [{"label": label, "premise": one, "hypothesis": two} for one, two, label in NLI]
    return write_table(root / "train.csv", rows)


PAIRS = [(SINGS, WREN), (NIGHT, OWL), (NIGHT, CROW)]


def pairs_objects(root: Path) -> Path:
    return write_jsonl(root / "qa.jsonl", [{"question": query, "answer": text} for query, text in PAIRS])


def pairs_lists(root: Path) -> Path:
    return write_jsonl(root / "qa.jsonl", [list(pair) for pair in PAIRS])


def pairs_table(root: Path) -> Path:
    pairs = [(query, text.replace("\n", " ")) for query, text in PAIRS]
    (root / "qa.tsv").write_text("title\tbody\n" + "".join(f"{query}\t{text}\n" for query, text in pairs))
    return root / "qa.tsv"


def pairs_parquet(root: Path) -> Path:
    return write_table(root / "qa.parquet", [{"anchor": query, "positive": text} for query, text in PAIRS])


def pairs_squad(root: Path) -> Path:
    def question(text: str, **more: Any) -> dict[str, Any]:
        return {"id": text[:3], "question": text, "answers": [{"text": "x", "answer_start": 0}], **more}

    one = {"context": WREN, "qas": [question(SINGS), question("Never?", is_impossible=True)]}
    two = {"context": OWL, "qas": [question(NIGHT)]}
    three = {"context": CROW, "qas": [question(NIGHT, is_impossible=False)]}
    articles = [{"title": "a", "paragraphs": [one]}, {"title": "b", "paragraphs": [two, three]}]
    (root / "train-v2.0.json").write_text(json.dumps({"version": "v2.0", "data": articles}))
    return root


WITH_NEGATIVES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "tevatron_old": ("tevatron", tevatron_old),
    "tevatron_new": ("tevatron", tevatron_new),
    "triplets_objects": ("triplets", triplets_objects),
    "triplets_numbered": ("triplets", triplets_numbered),
    "triplets_lists_in_fields": ("triplets", triplets_lists_in_fields),
    "triplets_lists": ("triplets", triplets_lists),
    "triplets_parquet": ("triplets", triplets_parquet),
    "nli_snli": ("nli", nli_snli),
    "nli_numbers": ("nli", nli_numbers),
    "nli_table": ("nli", nli_table),
}
WITHOUT: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "pairs_objects": ("pairs", pairs_objects),
    "pairs_lists": ("pairs", pairs_lists),
    "pairs_table": ("pairs", pairs_table),
    "pairs_parquet": ("pairs", pairs_parquet),
    "pairs_squad": ("pairs", pairs_squad),
}

"""A small folder for each source, as users have them."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.sources.mbeir_folder import picture, write_lines

DOCS = Path(__file__).parents[3] / "docs/data.md"


def build_parquet(root: Path) -> Path:
    """CIRR as mteb's mirrors have it: the corpus in two files, no split in its name, images as structs."""
    root.mkdir(parents=True)
    corpus = [
        {"id": f"8:{n}", "text": "", "image": {"bytes": picture(n), "path": None}, "modality": "image"}
        for n in range(6)
    ]
    for place in range(2):
        rows = pa.Table.from_pylist(corpus[place * 3 : place * 3 + 3])
        pq.write_table(rows, root / f"corpus-{place:05d}-of-00002.parquet", row_group_size=2)
    queries = [
        {"id": f"8:{n}", "text": "Less.", "image": {"bytes": picture(50 + n), "path": "a"}, "modality": "text,image"}
        for n in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(queries), root / "query-00000-of-00001.parquet")
    qrels = [("8:0", "8:1", 1), ("8:0", "8:2", 0), ("8:1", "8:3", 1), ("8:1", "8:4", 1)]
    columns = ("query-id", "corpus-id", "score")
    rows = [dict(zip(columns, row, strict=True)) for row in qrels]
    pq.write_table(pa.Table.from_pylist(rows), root / "qrels-00000-of-00001.parquet")
    return root


def build_beir(root: Path) -> Path:
    """Two splits over one corpus, one document with a title."""
    corpus = [{"_id": "d1", "title": "Wrens", "text": "They sing."}, {"_id": "d2", "title": "", "text": "Robins."}]
    write_lines(root / "corpus.jsonl", corpus)
    write_lines(root / "queries.jsonl", [{"_id": f"q{n}", "text": f"Which bird {n}?"} for n in (1, 2, 3)])
    (root / "qrels").mkdir()
    (root / "qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t2\n")
    return root


def build_jsonl(root: Path) -> Path:
    """The example of docs/data.md, word for word, with its two pictures."""
    blocks = re.findall(r"```json (\S+)\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.S)
    assert [name for name, _ in blocks] == ["tasks.json", "candidates.jsonl", "queries.jsonl"]
    (root / "pictures").mkdir(parents=True)
    for name, content in blocks:
        (root / name).write_text(content, encoding="utf-8")
    for number, bird in enumerate(("robin", "wren")):
        (root / f"pictures/{bird}.png").write_bytes(picture(number))
    return root

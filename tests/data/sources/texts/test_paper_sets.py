"""The listing of the paper's eleven text sets, over stubs in the forms that it names, becomes one data directory."""

import json
import shutil

import yaml

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.encoders.prompts import paper_prompts
from tests.tiny import ROOT, done

LISTING = ROOT / "data_shards/mm_embed_texts/texts.yaml"
SETS = yaml.safe_load(LISTING.read_text())["datasets"]
TABLE_11 = {"MSMARCO": "9/MSMARCO", "HotpotQA": "9/HotpotQA", "NQ": "9/NQ", "FiQA": "9/FiQA", "FEVER": "9/FEVER"}
TABLE_11 |= {"ArguAna": "9/ArguAna"}


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_stub(folder, kind, splits):
    if kind == "beir":
        lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": f"passage {n}"} for n in range(4)])
        lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": f"question {n}"} for n in range(4)])
        (folder / "qrels").mkdir()
        for n, split in enumerate(("train", "dev")[: len(splits or ("train", "val"))]):
            (folder / f"qrels/{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\nq{n}\td{n}\t1\n")
    elif kind == "tevatron":
        passages = [{"docid": str(n), "title": "t", "text": f"passage {n}"} for n in range(2)]
        row = {
            "query_id": "1",
            "query": "a question",
            "positive_passages": passages[:1],
            "negative_passages": passages[1:],
        }
        lines(folder / "train.jsonl", [row])
    elif kind == "nli":
        row = {"sentence1": "A man sleeps.", "sentence2": "A man rests.", "gold_label": "entailment"}
        lines(folder / "snli_1.0_train.jsonl", [row])
    else:
        lines(folder / "train.jsonl", [["a question", "a passage"], ["another", "one more"]])


def test_the_listing_is_read_over_all_of_its_forms(tmp_path):
    shutil.copy(LISTING, tmp_path)
    for entry in SETS:
        write_stub(tmp_path / entry["path"], entry["format"], entry.get("splits"))
    done("shard", "--source", "texts", "--root", tmp_path, "--out", tmp_path / "shards")
    directory = DataDirectory(tmp_path / "shards")
    assert len(directory.tasks) == 11 and {task.paper_id for task in directory.tasks} == {9}
    assert len(directory.queries("train")) >= 11
    wordings = Instructions.load(directory.instructions_path)
    table = paper_prompts()["eos"]["instructions"]
    for task in directory.tasks:
        if task.dataset in TABLE_11:
            assert wordings.wordings(task)[0] == table[TABLE_11[task.dataset]]

"""From files to NEGATIVES.parquet, by the entry functions."""

import json
import random

import pyarrow.parquet as pq
import pytest

from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.errors import InputError
from lit_mmembed.mining.miner import mine, random_negatives
from lit_mmembed.types import Modality, Sample, Task

MODALITIES = ("text", "image", "image,text")
TASK = Task("MSCOCO", 9, 0, 1, Modality.TEXT, Modality.IMAGE)


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def document(did, modality):
    text = f"text of {did}" if "text" in modality else None
    return {"did": did, "txt": text, "img_path": f"{did}.jpg" if "image" in modality else None, "modality": modality}


@pytest.fixture
def world(tmp_path):
    """60 documents, 8 queries of three tasks, a full random ranking of each."""
    rng = random.Random(7)
    documents = [document(f"9:{n}", rng.choice(MODALITIES)) for n in range(60)]
    queries = [
        {
            "qid": f"9:{n}",
            "task_id": rng.choice((0, 3)),
            "query_modality": "text",
            "pos_cand_list": rng.sample([d["did"] for d in documents], rng.randint(1, 4)),
        }
        for n in range(8)
    ]
    run = {query["qid"]: rng.sample([d["did"] for d in documents], 55) for query in rng.sample(queries, 8)}
    lines = [
        f"{qid} Q0 {did} {rank} {1 - rank / 100} me\n"
        for qid, dids in run.items()
        for rank, did in enumerate(dids, start=1)
    ]
    (tmp_path / "run.trec").write_text("".join(lines))
    write_lines(tmp_path / "q.jsonl", queries)
    write_lines(tmp_path / "c.jsonl", documents)
    return tmp_path, queries, documents, run


def files(folder):
    return {"run": folder / "run.trec", "queries": folder / "q.jsonl", "candidates": folder / "c.jsonl"}


def by_hand(queries, documents, run):
    """The rows of NEGATIVES by nested loops."""
    modality = {d["did"]: d["modality"] for d in documents}
    rows = []
    for qid, dids in run.items():
        query = next(q for q in queries if q["qid"] == qid)
        wanted = "image" if query["task_id"] == 0 else "text"
        for rank, did in enumerate(dids, start=1):
            if 45 < rank <= 50 and modality[did] == wanted and did not in query["pos_cand_list"]:
                rows.append((qid, did, "unsatisfying", rank))
        for rank, did in enumerate(dids[:50], start=1):
            if did in query["pos_cand_list"]:
                break
            if modality[did] != wanted:
                rows.append((qid, did, "wrong_modality", rank))
    return rows


def read(path):
    return [tuple(row.values())[:4] for row in pq.read_table(path).to_pylist()]


def test_mining_files_gives_the_rows_of_a_nested_loop_in_order(world) -> None:
    folder, queries, documents, run = world
    mine(**files(folder), out=folder / "n.parquet")
    assert read(folder / "n.parquet") == by_hand(queries, documents, run)
    table = pq.read_table(folder / "n.parquet")
    assert table.column_names == ["qid", "did", "kind", "rank", "score"]
    assert table["score"][0].as_py() == pytest.approx(1 - table["rank"][0].as_py() / 100)


def test_the_same_inputs_give_the_same_bytes_and_a_record(world) -> None:
    folder, *_ = world
    for name in ("a", "b"):
        mine(**files(folder), out=folder / name, depth=40, k_prime=30)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    record = json.loads(pq.read_schema(folder / "a").metadata[b"mmembed"])
    assert record["mining"] == {
        "depth": 40,
        "k_prime": 30,
        "seed": 0,
        "rules": ["wrong_modality", "unsatisfying"],
    }


def test_a_shard_set_is_mined_like_the_jsonl_that_it_was_made_from(tmp_path) -> None:
    documents = [Sample(id=f"9:{n}", text=f"document {n}") for n in range(60)]
    queries = [Sample(id="9:1", text="q", task=TASK.name, positives=("9:7",))]
    (tmp_path / "queries").mkdir()
    write_shard_set(tmp_path / "queries" / "test", queries, tasks=[TASK.name])
    write_shard_set(tmp_path / "candidates" / "test", documents)
    row = {"dataset": "MSCOCO", "dataset_id": 9, "mbeir_id": 0, "paper_id": 1}
    row |= {"query_modality": "text", "candidate_modality": "image"}
    (tmp_path / "manifest.json").write_text(json.dumps({"tasks": [row]}))
    run = tmp_path / "run"
    run.write_text("".join(f"9:1 Q0 9:{n} 1 {60 - n} x\n" for n in range(60)))
    sides = {"queries": tmp_path / "queries" / "test", "candidates": tmp_path / "candidates" / "test"}
    mine(run, **sides, out=tmp_path / "n.parquet", statistics=tmp_path / "s.json")
    assert read(tmp_path / "n.parquet") == [("9:1", f"9:{n}", "wrong_modality", n + 1) for n in range(7)]
    assert json.loads((tmp_path / "s.json").read_text())["tasks"]["mscoco_task0"]["median_positive_rank"] == 8


def test_wordings_of_a_query_are_merged_at_the_best_rank(tmp_path) -> None:
    write_lines(tmp_path / "q.jsonl", [{"qid": "9:1", "task_id": 0, "pos_cand_list": ["9:3"]}])
    write_lines(tmp_path / "c.jsonl", [document(f"9:{n}", "image" if n == 3 else "text") for n in range(1, 6)])
    orders = {"9:1#w1": [1, 2, 3, 4], "9:1#w2": [2, 4, 3, 1]}
    lines = [f"{q} Q0 9:{d} 0 {10 - n} x\n" for q, dids in orders.items() for n, d in enumerate(dids)]
    (tmp_path / "run.trec").write_text("".join(lines))
    mine(**files(tmp_path), out=tmp_path / "n")
    assert read(tmp_path / "n") == [
        ("9:1", "9:1", "wrong_modality", 1),
        ("9:1", "9:2", "wrong_modality", 1),
        ("9:1", "9:4", "wrong_modality", 2),
    ]


def test_positives_may_be_listed_as_the_documentation_shows_them(tmp_path) -> None:
    write_lines(tmp_path / "q.jsonl", [{"qid": "9:1", "task_id": 0, "pos_cand_list": [{"did": "9:1"}]}])
    write_lines(tmp_path / "c.jsonl", [document("9:1", "text"), document("9:2", "text")])
    (tmp_path / "run.trec").write_text("9:1 Q0 9:1 1 2 x\n9:1 Q0 9:2 2 1 x\n")
    mine(**files(tmp_path), out=tmp_path / "n")
    assert read(tmp_path / "n") == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("q.jsonl", '{"qid": "9:1", "task_id": 5}', r"q\.jsonl: line 9: task_id 5"),
        ("q.jsonl", '{"qid": "9:0", "task_id": 0}', r"q\.jsonl: 9:0: duplicate id"),
        ("q.jsonl", '{"qid": "9:9"}', r"q\.jsonl: line 9: has no task_id"),
        ("c.jsonl", '{"did": "9:77", "modality": "video"}', r"c\.jsonl: line 61: modality 'video' is unknown"),
        ("c.jsonl", '{"did": "9:77", "txt": "", "img_path": null, "modality": "text"}', r"line 61: 9:77 has neither"),
        ("c.jsonl", '{"did": "9:77"', r"c\.jsonl: line 61: is not JSON"),
        ("run.trec", "9:88 Q0 9:1 1 0.5 me", r"run\.trec: query 9:88 of the run is not in .*q\.jsonl"),
        ("run.trec", "9:1 Q0 9:99 1 0.5 me", r"run\.trec: document 9:99 of the run is not in .*c\.jsonl"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(world, name, line, message) -> None:
    folder, *_ = world
    with (folder / name).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=message):
        mine(**files(folder), out=folder / "n.parquet")
    assert not list(folder.glob("n.parquet*"))


def test_random_negatives_are_different_documents_and_never_positives(world) -> None:
    folder, queries, *_ = world
    for name in ("a", "b"):
        random_negatives(folder / "q.jsonl", folder / "c.jsonl", folder / name, per_query=20, seed=3)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    rows = read(folder / "a")
    for query in queries:
        drawn = [did for qid, did, kind, rank in rows if qid == query["qid"]]
        assert len(drawn) == len(set(drawn)) == 20
        assert not set(drawn) & set(query["pos_cand_list"])
    assert {row[2:] for row in rows} == {("random", 0)}


def test_random_negatives_stop_at_the_pool(world) -> None:
    folder, queries, *_ = world
    random_negatives(folder / "q.jsonl", folder / "c.jsonl", folder / "n", per_query=500, seed=3)
    assert len(read(folder / "n")) == sum(60 - len(query["pos_cand_list"]) for query in queries)


def test_the_random_negatives_of_a_query_do_not_depend_on_the_other_queries(world) -> None:
    folder, queries, *_ = world
    random_negatives(folder / "q.jsonl", folder / "c.jsonl", folder / "all", per_query=5, seed=1)
    write_lines(folder / "q.jsonl", queries[3:4])
    random_negatives(folder / "q.jsonl", folder / "c.jsonl", folder / "one", per_query=5, seed=1)
    assert read(folder / "one") == [row for row in read(folder / "all") if row[0] == queries[3]["qid"]]

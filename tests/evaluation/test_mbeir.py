"""M-BEIR's protocol, by the entry function and from files."""

import io
import json
import logging
import subprocess
import sys

import pytest
from PIL import Image

from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mbeir import evaluate
from lit_mmembed.evaluation.scores import read_scores
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from lit_mmembed.types import Modality, Sample

DOCUMENTS = {"9:1": "image", "9:2": "image", "9:3": "text", "9:4": "text", "7:1": "image", "7:2": "text,image"}
QUERIES = {"9:1": 0, "9:2": 0, "9:3": 3, "7:1": 7}
QRELS = {"9:1": {"9:1": 1}, "9:2": {"9:2": 1, "9:1": 1}, "9:3": {"9:3": 1}, "7:1": {"7:1": 1}}
RUN = {
    "9:1": ["9:1", "9:3", "9:4"],  # hit at 1
    "9:2": ["9:3", "9:2", "9:4", "9:1"],  # hit at 2
    "9:3": ["9:1", "9:4"],  # none
    "7:1": ["7:2", "9:1", "9:2", "9:3", "9:4", "7:1"],  # hit at 6
}


@pytest.fixture
def world(tmp_path):
    lines = [{"did": did, "txt": "x", "modality": modality} for did, modality in DOCUMENTS.items()]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [{"qid": qid, "task_id": task, "query_modality": "text"} for qid, task in QUERIES.items()]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "qrels").write_text(
        "".join(f"{q} 0 {d} {rel} {QUERIES[q]}\n" for q, row in QRELS.items() for d, rel in row.items())
    )
    write_run(tmp_path, RUN)
    return tmp_path


def write_run(folder, run, name="run"):
    lines = [f"{q} Q0 {d} {r} {99 - r} x\n" for q, dids in run.items() for r, d in enumerate(dids, start=1)]
    (folder / name).write_text("".join(lines))


def score(folder, labelled=True, **changes):
    arguments = {"run": folder / "run", "qrels": folder / "qrels"}
    if labelled:
        arguments |= {"queries": folder / "q.jsonl", "candidates": folder / "c.jsonl"}
    return evaluate(**(arguments | changes))


def table(scores):
    return {(s.task, s.metric, s.k): s.value for s in scores}


def test_metrics_per_task_are_those_counted_by_hand(world) -> None:
    values = table(score(world))
    assert values["mscoco_task0", "hit", 1] == 0.5
    assert values["mscoco_task0", "hit", 5] == 1.0
    assert values["mscoco_task0", "recall", 1] == 0.5
    assert values["mscoco_task0", "mrr", 5] == 0.75
    assert values["mscoco_task3", "hit", 10] == 0.0
    assert values["fashioniq_task7", "hit", 5] == 0.0
    assert values["fashioniq_task7", "hit", 10] == 1.0
    assert values["mscoco_task0", "modality_accuracy", 1] == 0.5
    assert values["mscoco_task0", "modality_accuracy", 5] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert values["fashioniq_task7", "modality_accuracy", 1] == 0.0
    assert values["fashioniq_task7", "modality_accuracy", 10] == 0.5


def test_averages_are_plain_means_over_tasks(world) -> None:
    values = table(score(world))
    assert values["avg_all", "hit", 1] == pytest.approx((0.5 + 0 + 0) / 3)
    assert values["avg_single_modal", "hit", 1] == 0.25
    assert values["avg_multi_modal", "hit", 10] == 1.0


def test_the_headline_is_hit_at_each_tasks_own_cut_off(world) -> None:
    values = table(score(world, k=(1,)))
    assert values["mscoco_task0", "headline", 5] == values["mscoco_task0", "hit", 5] == 1.0
    assert values["fashioniq_task7", "headline", 10] == 1.0
    assert values["avg_all", "headline", 0] == pytest.approx((1 + 0 + 1) / 3)
    assert ("mscoco_task0", "hit", 10) not in values
    assert ("avg_all", "hit", 5) not in values


def test_rows_stand_in_the_tables_order_and_name_their_dataset(world) -> None:
    scores = score(world)
    assert list(dict.fromkeys((s.task, s.dataset, s.n) for s in scores)) == [
        ("mscoco_task0", "MSCOCO", 2),
        ("mscoco_task3", "MSCOCO", 1),
        ("fashioniq_task7", "FashionIQ", 1),
        ("avg_all", "all", 4),
        ("avg_single_modal", "all", 3),
        ("avg_multi_modal", "all", 1),
    ]
    assert {s.pool for s in scores} == {"global"}


def test_without_queries_the_fifth_column_names_the_tasks_and_all_counts_every_query(world) -> None:
    values = table(score(world, labelled=False))
    assert values["mscoco_task0", "hit", 1] == 0.5
    assert values["all", "hit", 1] == 0.25
    assert not any(metric == "modality_accuracy" for _, metric, _ in values)


def test_any_systems_four_column_qrels_give_one_row(world) -> None:
    (world / "qrels").write_text("".join(f"{q} 0 {d} 1\n" for q, row in QRELS.items() for d in row))
    scores = score(world, labelled=False)
    assert {s.task for s in scores} == {"all"}
    assert table(scores)["all", "hit", 5] == 0.5


def test_a_query_that_the_run_lacks_counts_zero_and_is_reported(world, caplog) -> None:
    write_run(world, {qid: RUN[qid] for qid in ("9:1", "9:3", "7:1")})
    with caplog.at_level(logging.WARNING):
        scores = score(world)
    assert table(scores)["mscoco_task0", "hit", 5] == 0.5
    assert scores[0].n == 2
    assert scores[0].record["evaluation"]["missing_queries"] == 1
    assert "1 of 4 judged queries are missing" in caplog.text


def test_wordings_of_a_query_count_as_their_mean(world) -> None:
    write_run(world, {"9:1#w1": ["9:1"], "9:1#w2": ["9:3", "9:1"], "9:1#w3": ["9:3"], "9:2": ["9:2"]})
    values = table(score(world))
    assert values["mscoco_task0", "hit", 1] == pytest.approx((1 / 3 + 1) / 2)
    assert values["mscoco_task0", "modality_accuracy", 1] == pytest.approx((1 / 3 + 1) / 2)


def test_the_file_holds_the_scores_and_the_same_inputs_give_the_same_bytes(world) -> None:
    scores = score(world, json=world / "a", bootstrap=50, seed=4)
    score(world, json=world / "b", bootstrap=50, seed=4)
    assert (world / "a").read_bytes() == (world / "b").read_bytes()
    assert read_scores(world / "a") == scores
    line = json.loads((world / "a").read_text().splitlines()[0])
    assert {"metric", "k", "value", "n", "task", "dataset", "pool", "low", "high", "record"} == set(line)


def test_bootstrap_intervals_hold_the_value_and_are_absent_without(world) -> None:
    for one in score(world, bootstrap=200):
        assert one.low <= one.value <= one.high
    spread = {(s.task, s.metric, s.k): (s.low, s.high) for s in score(world, bootstrap=200)}
    assert spread["mscoco_task0", "hit", 1] == (0.0, 1.0)
    assert spread["fashioniq_task7", "hit", 10] == (1.0, 1.0)
    assert all(one.low is None and one.high is None for one in score(world))


def test_the_record_of_the_run_travels_into_the_scores(world) -> None:
    write_ranking(world / "run", from_pairs(["9:1"], ["9:1"], [1.0]), record={"depth": 50, "seed": 7})
    record = score(world, record={"stage": "hard"})[0].record
    assert (record["depth"], record["seed"], record["stage"]) == (50, 7, "hard")
    assert len(record["run_hash"]) == len(record["qrels_hash"]) == 64


def test_shard_sets_and_a_data_directory_give_what_the_jsonl_gives(world) -> None:
    tasks = ["mscoco_task0", "mscoco_task3", "fashioniq_task7"]
    rows = [("MSCOCO", 9, 0, 1, 5), ("MSCOCO", 9, 3, 4, 5), ("FashionIQ", 7, 7, 7, 10)]
    sides = [("text", "image"), ("image", "text"), ("image,text", "image")]
    fields = ("dataset", "dataset_id", "mbeir_id", "paper_id", "cutoff", "query_modality", "candidate_modality")
    manifest = {"tasks": [dict(zip(fields, (*row, *side), strict=True)) for row, side in zip(rows, sides, strict=True)]}
    data = world / "data"
    names = {task[1:3]: name for task, name in zip(rows, tasks, strict=True)}
    queries = [Sample(q, "x", task=names[int(q[0]), task]) for q, task in QUERIES.items()]
    write_shard_set(data / "queries" / "test", queries, tasks=tasks)
    documents = [(did, Modality.parse(modality)) for did, modality in DOCUMENTS.items()]
    write_shard_set(data / "candidates" / "test", [sample_of(*document) for document in documents])
    (data / "manifest.json").write_text(json.dumps(manifest))
    expected = score(world)
    assert score(world, queries=data / "queries" / "test", candidates=data / "candidates" / "test") == expected
    assert score(world, queries=data, candidates=data) == expected


def sample_of(did, modality):
    return Sample(did, None if modality is Modality.IMAGE else "x", picture_of(modality), modality)


def picture_of(modality):
    if modality is Modality.TEXT:
        return None
    stream = io.BytesIO()
    Image.new("RGB", (2, 2)).save(stream, "PNG")
    return stream.getvalue()


def test_tasks_of_ones_own_come_from_tasks_json(world) -> None:
    row = {"dataset": "Mine", "dataset_id": 9, "mbeir_id": 0, "paper_id": 1, "cutoff": 2}
    row |= {"query_modality": "text", "candidate_modality": "image"}
    (world / "tasks.json").write_text(json.dumps([row]))
    values = table(score(world, k=(1,)))
    assert values["mine_task0", "headline", 2] == 1.0


def test_a_dataset_without_a_row_in_the_table_gets_one(world) -> None:
    (world / "q.jsonl").write_text('{"qid": "42:1", "task_id": 6}\n')
    (world / "qrels").write_text("42:1 0 9:3 1\n")
    write_run(world, {"42:1": ["9:3"]})
    values = table(score(world))
    assert values["dataset42_task6", "modality_accuracy", 1] == 1.0
    assert values["avg_multi_modal", "hit", 5] == 1.0


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("run", "9:8 Q0 9:1 1 1 x", r"run: query 9:8 of the run is not judged"),
        ("run", "9:1 Q0 9:77 1 1 x", r"run: document 9:77 of the run is not in .*c\.jsonl"),
        ("qrels", "9:8 0 9:1 1 0", r"qrels: line 6: query 9:8 is not in .*q\.jsonl"),
        ("qrels", "9:1 0 9:88 1 0", r"qrels: line 6: document 9:88 is not in .*c\.jsonl"),
        ("c.jsonl", '{"did": "9:9", "txt": "x", "modality": "audio"}', r"c\.jsonl: line 7: modality 'audio'"),
        ("c.jsonl", '{"did": "9:1", "txt": "x", "modality": "text"}', r"c\.jsonl: 9:1: duplicate id"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(world, name, line, message) -> None:
    with (world / name).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=message):
        score(world, json=world / "out")
    assert not list(world.glob("out*"))


def test_a_local_pool_may_lack_judged_documents(world) -> None:
    with (world / "qrels").open("a") as stream:
        stream.write("9:1 0 9:88 1 0\n")
    assert table(score(world, pool="local"))["mscoco_task0", "recall", 1] == 0.25


@pytest.mark.parametrize("k", [(), (0, 5)])
def test_cut_offs_start_at_one(world, k) -> None:
    with pytest.raises(InputError, match="is not a list of cut-offs"):
        score(world, k=k)


def test_tasks_are_resampled_apart_so_that_their_average_is_surer_than_each(world) -> None:
    qids = [f"9:{n}" for n in range(200)]
    (world / "qrels").write_text("".join(f"{q} 0 9:1 1 {0 if n < 100 else 3}\n" for n, q in enumerate(qids)))
    write_run(world, {qid: ["9:1"] if n % 2 else ["9:2"] for n, qid in enumerate(qids)})
    scores = score(world, labelled=False, k=(1,), bootstrap=2000)
    width = {one.task: one.high - one.low for one in scores if (one.metric, one.k) == ("hit", 1)}
    assert width["avg_all"] == pytest.approx(width["mscoco_task0"] / 2**0.5, rel=0.15)


def test_importing_the_entry_functions_loads_nothing_heavy() -> None:
    modules = "evaluation.mbeir", "evaluation.compare", "mining.miner"
    program = "; ".join(f"import lit_mmembed.{module}" for module in modules)
    program += "; import sys; print(sorted({'torch', 'pyarrow', 'numpy', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"

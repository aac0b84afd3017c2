"""Query ids without a `dataset:` prefix: `compare` and the gallery take each task from the data, as `evaluate` does."""

import json

import pytest

from lit_mmembed.data.building import write_directory
from lit_mmembed.evaluation.comparison import compare_runs
from lit_mmembed.evaluation.mbeir import evaluate
from lit_mmembed.evaluation.report import report
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from lit_mmembed.types import Modality, Sample, Task
from tests.evaluation.report_world import write_stage
from tests.tiny import done

TEXT = Modality.TEXT
QIDS, DIDS = [f"q{n}" for n in range(6)], [f"d{n}" for n in range(15)]
"""The positive of qN is dN."""
PLACES = {"M_rand": [2, 2, 2, 12, 12, 12], "M_hard": [7] * 6}
"""Where each model has it, from 1: hit@5 falls from one to the other, hit@10 rises."""
PAIRS = (Task("birds", 70, 1, 9, TEXT, TEXT, cutoff=10), Task("frogs", 71, 1, 9, TEXT, TEXT, cutoff=10))


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def beir(folder):
    """A BEIR folder, sharded by the command."""
    (root := folder / "src").mkdir(parents=True)
    lines(root / "queries.jsonl", [{"_id": qid, "text": f"where is {qid}"} for qid in QIDS])
    lines(root / "corpus.jsonl", [{"_id": did, "title": "", "text": f"here is {did}"} for did in DIDS])
    (root / "qrels").mkdir()
    judged = "".join(f"{qid}\t{did}\t1\n" for qid, did in zip(QIDS, DIDS, strict=False))
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    done("shard", "--source", "beir", "--root", root, "--out", folder / "shards")
    return folder / "shards"


def two_tasks_of_one_number(folder):
    """The first three queries ask for birds, the others for frogs; both are M-BEIR's task number 1."""
    task_of = {qid: PAIRS[n >= 3] for n, qid in enumerate(QIDS)}
    queries = [Sample(qid, qid, task=task_of[qid].name, positives=(f"d{n}",)) for n, qid in enumerate(QIDS)]
    items = [("queries/test", query) for query in queries] + [("candidates/test", Sample(did, did)) for did in DIDS]
    qrels = [(qid, f"d{n}", 1, 1) for n, qid in enumerate(QIDS)]
    return write_directory(
        folder / "shards", items, name="two", source="a test", tasks=PAIRS, qrels={"test": qrels}, pools={"test": {}}
    )


def write_study(run, make_data):
    """A run folder with an evaluation of each model."""
    data = make_data(run / "shared/data")
    write_stage(run / "shared/data", "shard", run_dir=run)
    for model, places in PLACES.items():
        folder = run / f"seed0/main/evaluate_{model}"
        write_stage(folder, "evaluate", run_dir=run, labels={"model": model}, arguments={"data": str(data)})
        rows = []
        for n, place in enumerate(places):
            others = [did for did in DIDS if did != f"d{n}"]
            ranked = [*others[: place - 1], f"d{n}", *others[place - 1 :]]
            rows += [(QIDS[n], did, 99.0 - rank) for rank, did in enumerate(ranked)]
        ranking = folder / "run.parquet"
        write_ranking(ranking, from_pairs(*zip(*rows, strict=True)), record={"split": "test", "prompts": "none"})
        where = {"queries": data / "queries/test", "candidates": data / "candidates/test", "pool": "global"}
        evaluate(run=ranking, qrels=data / "qrels/test.txt", json=folder / "scores.jsonl", bootstrap=0, **where)
    return run


def compared(run):
    """{row: (of M_rand, of M_hard, cut-off)} for hit at each task's own cut-off."""
    comparison = compare_runs([run / f"seed0/main/evaluate_{model}" for model in PLACES], samples=20)
    rows = [row for row in comparison.differences[0] if row.measure.metric == "hit"]
    return {row.name: (row.base, row.other, row.task and row.measure.cutoff(row.task)) for row in rows}


def scored(run, model):
    """{task: its headline} as `evaluate` has written it."""
    rows = [json.loads(line) for line in (run / f"seed0/main/evaluate_{model}/scores.jsonl").open()]
    return {row["task"]: row["value"] for row in rows if row["metric"] == "headline" and row["task"][:3] != "avg"}


def test_a_beir_folders_systems_are_compared_at_its_own_cutoff(tmp_path) -> None:
    run = write_study(tmp_path / "run", beir)
    found = compared(run)
    (task,) = scored(run, "M_rand")
    assert found[task] == (pytest.approx(0.5), pytest.approx(1.0), 10)
    assert found[task][:2] == tuple(scored(run, model)[task] for model in PLACES)
    assert "avg_single_modal" not in found


def test_the_gallery_names_a_beir_folders_task(tmp_path) -> None:
    page = report(write_study(tmp_path / "run", beir), tmp_path / "out").read_text()
    assert "T9 src" in page and "T2 dataset" not in page
    assert page.count("<article") == 2


def test_two_tasks_of_one_number_stay_apart(tmp_path) -> None:
    run = write_study(tmp_path / "run", two_tasks_of_one_number)
    assert {name: values for name, values in compared(run).items() if not name.startswith("avg")} == {
        "birds_task1": (pytest.approx(1.0), pytest.approx(1.0), 10),
        "frogs_task1": (pytest.approx(0.0), pytest.approx(1.0), 10),
    }
    page = report(run, tmp_path / "out").read_text()
    assert "T9 birds" in page and "T9 frogs" in page

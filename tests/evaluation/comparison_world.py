"""A small study whose evaluations know their data, their split and their models: what `mmembed compare` reads."""

import json
import math

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking, write_ranking
from tests.evaluation.report_world import QUERIES, positive_of, ranking_of, write_run

DEPTH = 10
RECORDED = "runs/toy"


def write_study(run_dir, *, models=("M_rand", "M_hard"), recorded=RECORDED, **options):
    """A study of the report's tests, with model folders and complete records."""
    write_run(run_dir, models=models, recorded=recorded, **options)
    data = DataDirectory(run_dir / "shared/data/shards")
    for folder in sorted(run_dir.glob("seed*/*/evaluate_*")):
        model, variant = folder.name.removeprefix("evaluate_"), folder.parent
        seed = int(variant.parent.name.removeprefix("seed"))
        fit = f"{recorded}/{(variant / model).relative_to(run_dir)}"
        training = {
            "seed": seed,
            "steps": 30,
            "prompts": "first",
            "negatives_hash": f"{seed}abc" if "hard" in model else None,
        }
        for pool in ("run.parquet", "run_local.parquet"):
            rewrite(folder / pool, data_hash=data.hash, split="test", training=training)
        stage = json.loads((folder / "stage.json").read_text())
        stage["arguments"]["model"] = f"{fit}/model"
        (folder / "stage.json").write_text(json.dumps(stage))
        write_model(variant / model / "model", fit, recorded=recorded, seed=seed, is_hard="hard" in model)
    return run_dir


def write_model(folder, fit, *, recorded, seed, is_hard):
    negatives = f"{recorded}/seed{seed}/with_instructions/M_rand/negatives.parquet"
    config = {
        "seed_everything": seed,
        "folder": fit,
        "data": {"path": f"{recorded}/shared/data/shards", "negatives": negatives if is_hard else None},
        "model": {"lr": 0.1 if is_hard else 0.2, "loss": {"class_path": "a.b.InfoNCE", "init_args": {"scale": 1.0}}},
        "trainer": {"callbacks": None if is_hard else [{"class_path": "a.Mine", "init_args": {"folder": fit, "k": 5}}]},
    }
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"config": config, "seed": seed}))


def rewrite(run, ranking=None, **record):
    """Write a ranking again with other things in its record."""
    if run.exists():
        write_ranking(run, ranking or read_ranking(run), record={**ranking_record(run), **record})


def evaluations(run_dir, model, seeds=(0, 1, 2), asked="with"):
    return [run_dir / f"seed{seed}/{asked}_instructions/evaluate_{model}" for seed in seeds]


def named(name, folders):
    return f"{name}={','.join(map(str, folders))}"


# Naive oracles


def rank_of(model, seed, qid, pool="global"):
    """Of the positive; one more than the depth where it is not there."""
    dids = ranking_of(model, seed, pool=pool)[qid]
    return dids.index(positive_of(qid)) + 1 if positive_of(qid) in dids else DEPTH + 1


def qids_of(task):
    return [qid for qid in QUERIES if QUERIES[qid] == task]


def hit_of(model, seed, task, k=5, pool="global"):
    found = [rank_of(model, seed, qid, pool) <= k for qid in qids_of(task)]
    return sum(found) / len(found)


def gain_of(qid, seeds=(0, 1, 2)):
    logs = [math.log2(rank_of("M_rand", seed, qid)) - math.log2(rank_of("M_hard", seed, qid)) for seed in seeds]
    return sum(logs) / len(logs)


def mean(values):
    values = list(values)
    return sum(values) / len(values)

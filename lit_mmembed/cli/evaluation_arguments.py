"""The flags of the stages that score, compare and report. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.composed_arguments import expectation_flags, protocol_flags
from lit_mmembed.cli.model_arguments import model_flags
from lit_mmembed.cli.model_arguments import stage as _stage


def evaluate(stages: argparse._SubParsersAction) -> None:
    """`mmembed evaluate`."""
    stage = _stage(stages, "evaluate", "Score a ranking against qrels; or encode, search and score a model.")
    stage.add_argument(
        "--run",
        type=Path,
        help="ranking: TREC (also M-BEIR's seventh column) or Parquet; with --qrels, or --data and --out",
    )
    stage.add_argument("--qrels", type=Path, help="qrels: four columns, or M-BEIR's five")
    stage.add_argument("--queries", type=Path, help="M-BEIR's JSONL or a shard set: gives the tasks")
    stage.add_argument("--candidates", type=Path, help="M-BEIR's JSONL or a shard set: gives the modalities")
    stage.add_argument("--k", type=int, nargs="+", default=[1, 5, 10], help="cut-offs")
    stage.add_argument("--json", type=Path, help="write one JSON object a line here")
    stage.add_argument("--pool", default="global", help="what the ranking searched; named in the result")
    stage.add_argument("--bootstrap", type=int, default=0, help="resamples for 95 %% intervals; 0 leaves them out")
    stage.add_argument("--model", type=Path, help="model folder: embed, search and score it on --data into --out")
    stage.add_argument(
        "--stores", type=Path, help="in place of --model: a folder with the stores queries and candidates"
    )
    stage.add_argument("--data", type=Path, help="data directory")
    stage.add_argument("--split", help="with --data: which split (default: test; with --protocol: val)")
    stage.add_argument("--out", type=Path, help="with --data: folder for run.parquet and scores.jsonl")
    stage.add_argument("--index", choices=("exact", "faiss"), default="exact", help="with --data: how to search")
    stage.add_argument("--depth", type=int, default=50, help="with --data: documents per query")
    protocol_flags(stage)
    expectation_flags(stage)
    _mteb_flags(stage)
    model_flags(stage)


def _mteb_flags(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--mteb",
        nargs="+",
        metavar="TASK",
        help="with --model and --out: tasks of the library mteb; mteb15, mbeir, or local for those of --data",
    )
    stage.add_argument(
        "--mteb-prompts", choices=("paper", "mteb", "none"), default="paper", help="with --mteb: whose instructions"
    )
    stage.add_argument("--mteb-splits", nargs="+", metavar="SPLIT", help="with --mteb: only these splits")
    stage.add_argument(
        "--lengths", type=int, nargs=2, metavar=("QUERY", "DOCUMENT"), help="with --mteb: tokens at most, 128 512"
    )
    stage.add_argument("--keep-stores", action="store_true", help="with --mteb: keep the stores of scored tasks")


def compare(stages: argparse._SubParsersAction) -> None:
    """`mmembed compare`."""
    about = "Compare systems on the same queries, by task: intervals over seeds and queries, and a paired test."
    stage = _stage(stages, "compare", about)
    stage.add_argument(
        "systems",
        nargs="*",
        metavar="[NAME=]FOLDER[,FOLDER...]",
        help="the base, then others: evaluations (OUT of `mmembed evaluate --model`), several for the seeds of one, or "
        "run folders; '*' is allowed. Without a name, evaluations of one run that differ in the seed alone are joined",
    )
    stage.add_argument("--data", type=Path, help="data directory, where the runs do not say where it is")
    stage.add_argument("--pool", choices=("global", "local"), default="global", help="which pool was searched")
    stage.add_argument("--out", type=Path, help="folder for index.html, comparison.md, comparison.csv, comparison.json")
    stage.add_argument("--runs", type=Path, nargs=2, metavar=("A", "B"), help="in place of folders: two rankings")
    stage.add_argument("--qrels", type=Path, help="with --runs: qrels")
    stage.add_argument("--metric", help="hit, recall, ndcg, map, mrr or modality_accuracy (default: hit)")
    stage.add_argument("--k", type=int, help="cut-off (default: each task's own; with --runs: 5)")
    stage.add_argument("--samples", type=int, default=10_000, help="draws of the intervals and of p")
    stage.add_argument("--seed", type=int, default=0, help="seed of the draws")


def report(stages: argparse._SubParsersAction) -> None:
    """`mmembed report`."""
    about = "Write one static page about a run folder; or the paper's tables from one or several."
    stage = _stage(stages, "report", about)
    stage.add_argument(
        "run_dir", type=Path, nargs="+", metavar="RUN_DIR", help="run folder; several with --paper, of one benchmark"
    )
    stage.add_argument(
        "--paper",
        type=int,
        nargs="*",
        metavar="N",
        help="the paper's tables N with our numbers and the differences: 1 to 7, 9; without N all of them",
    )
    stage.add_argument(
        "--on-conflict",
        choices=("error", "first"),
        help="with --paper, where run folders have different numbers of one system and seed: which counts",
    )
    stage.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for index.html, report.md, scores.csv; with --paper: index.html, paper.md, paper.json",
    )

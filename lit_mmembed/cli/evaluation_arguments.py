"""The flags of the stages that score, compare and report. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import model_flags
from lit_mmembed.cli.model_arguments import stage as _stage


def evaluate(stages: argparse._SubParsersAction) -> None:
    """`mmembed evaluate`."""
    stage = _stage(stages, "evaluate", "Score a ranking against qrels; or encode, search and score a model.")
    stage.add_argument("--run", type=Path, help="ranking: TREC (also M-BEIR's seventh column) or Parquet")
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
    stage.add_argument("--split", default="test", help="with --data: which split")
    stage.add_argument("--out", type=Path, help="with --data: folder for run.parquet and scores.jsonl")
    stage.add_argument("--index", choices=("exact", "faiss"), default="exact", help="with --data: how to search")
    stage.add_argument("--depth", type=int, default=50, help="with --data: documents per query")
    model_flags(stage)


def compare(stages: argparse._SubParsersAction) -> None:
    """`mmembed compare`."""
    stage = _stage(stages, "compare", "Test whether two rankings differ: a paired randomisation test over queries.")
    stage.add_argument("--runs", type=Path, nargs=2, required=True, metavar=("A", "B"), help="two rankings")
    stage.add_argument("--qrels", type=Path, required=True, help="qrels")
    stage.add_argument("--metric", default="hit", help="hit, recall, ndcg, map or mrr")
    stage.add_argument("--k", type=int, default=5, help="cut-off")
    stage.add_argument("--seed", type=int, default=0, help="seed of the resampling")


def report(stages: argparse._SubParsersAction) -> None:
    """`mmembed report`."""
    stage = _stage(stages, "report", "Write one static page, a Markdown file and a CSV about a run folder.")
    stage.add_argument("run_dir", type=Path, help="folder with the stages of one or more runs")
    stage.add_argument("--out", type=Path, required=True, help="folder for index.html, report.md and scores.csv")

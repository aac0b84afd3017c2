"""The flags of `mmembed mine`. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import model_flags
from lit_mmembed.cli.model_arguments import stage as _stage

RULES = ("wrong_modality", "unsatisfying", "positive_aware")
FILTERS = ("margin", "fraction", "max_score", "first", "last", "per_query", "choose")


def mine(stages: argparse._SubParsersAction) -> None:
    """`mmembed mine`."""
    stage = _stage(stages, "mine", "Take hard negatives from a ranking, or from what a teacher retrieves.")
    stage.add_argument("--out", type=Path, required=True, help="NEGATIVES.parquet: qid, did, kind, rank, score")
    stage.add_argument("--run", type=Path, help="ranking: TREC or Parquet")
    stage.add_argument("--queries", type=Path, help="with --run or --random: M-BEIR's JSONL, or a shard set")
    stage.add_argument("--candidates", type=Path, help="with --run or --random: M-BEIR's JSONL, or a shard set")
    stage.add_argument("--depth", type=int, default=50, help="how far down the ranking")
    stage.add_argument("--statistics", type=Path, help="also write statistics per task as JSON")
    stage.add_argument(
        "--random", type=int, metavar="N", help="the control: N random documents per query instead of mined ones"
    )
    _rules(stage)
    _teacher(stage)


def _rules(stage: argparse.ArgumentParser) -> None:
    rules = stage.add_argument_group("rules", "docs/mining.md says what each takes")
    rules.add_argument("--rules", nargs="+", choices=RULES, help="which negatives; without: the paper's two")
    rules.add_argument(
        "--k-prime", type=int, default=45, help="right-modality documents ranked below this are unsatisfying"
    )
    rules.add_argument("--margin", type=float, help="positive_aware: below the positive's score minus this")
    rules.add_argument(
        "--fraction", type=float, help="positive_aware: below this share of the positive's score, e.g. 0.95"
    )
    rules.add_argument("--max-score", type=float, help="positive_aware: below this score")
    rules.add_argument("--first", type=int, help="positive_aware: best rank that is looked at; without: 1")
    rules.add_argument("--last", type=int, help="positive_aware: worst rank that is looked at; without: the last")
    rules.add_argument("--per-query", type=int, help="positive_aware: negatives per query, at most; without: all")
    rules.add_argument("--choose", choices=("best", "random"), help="positive_aware: which of them; without: best")
    rules.add_argument("--keep", type=Path, help="older NEGATIVES.parquet of the same data, some kinds of which stay")
    rules.add_argument("--keep-kinds", nargs="+", default=["wrong_modality"], help="with --keep: the kinds that stay")


def _teacher(stage: argparse.ArgumentParser) -> None:
    teacher = stage.add_argument_group("teacher", "what retrieves, in the place of --run")
    teacher.add_argument("--teacher", type=Path, metavar="MODEL", help="model folder: RUN/model")
    teacher.add_argument("--stores", type=Path, metavar="FOLDER", help="embeddings: FOLDER/queries, FOLDER/candidates")
    teacher.add_argument("--data", type=Path, help="with --teacher or --stores: data directory")
    teacher.add_argument("--split", default="train", help="which split of it")
    teacher.add_argument(
        "--pool", choices=("global", "local"), default="global", help="local: each task's queries over its own pool"
    )
    teacher.add_argument(
        "--index", choices=("exact", "faiss"), default="exact", help="exact torch search, or a flat FAISS index"
    )
    model_flags(stage)

"""The flags of `mmembed mine`. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import stage as _stage


def mine(stages: argparse._SubParsersAction) -> None:
    """`mmembed mine`."""
    stage = _stage(stages, "mine", "Take modality-aware hard negatives from a ranking (section 4.1.1 of the paper).")
    stage.add_argument("--run", type=Path, help="ranking: TREC or Parquet")
    stage.add_argument("--queries", type=Path, required=True, help="M-BEIR's JSONL, or a shard set")
    stage.add_argument("--candidates", type=Path, required=True, help="M-BEIR's JSONL, or a shard set")
    stage.add_argument("--out", type=Path, required=True, help="NEGATIVES.parquet: qid, did, kind, rank, score")
    stage.add_argument("--depth", type=int, default=50, help="how far down the ranking")
    stage.add_argument(
        "--k-prime", type=int, default=45, help="right-modality documents ranked below this are unsatisfying"
    )
    stage.add_argument("--seed", type=int, default=0, help="seed of whatever is drawn")
    stage.add_argument("--statistics", type=Path, help="also write statistics per task as JSON")
    stage.add_argument(
        "--random", type=int, metavar="N", help="the control: N random documents per query instead of mined ones"
    )

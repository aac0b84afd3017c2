"""The flags of `mmembed shard`. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import stage as add_stage

TEXT_FORMS = ("tevatron", "triplets", "nli", "pairs")
COMPOSED = ("circo", "cirr", "fashioniq")
SOURCES = ("mbeir", "parquet", "beir", "jsonl", "emoji_beir", "texts", *TEXT_FORMS, *COMPOSED)


def shard(stages: argparse._SubParsersAction) -> None:
    """`mmembed shard`."""
    stage = add_stage(stages, "shard", "Turn a source into a data directory of WebDataset shards, or verify one.")
    stage.add_argument("--verify", type=Path, metavar="DIR", help="check every byte of a data directory or shard set")
    stage.add_argument("--source", choices=SOURCES, help="what the source is; docs/data.md describes each")
    root = "the source's folder (emoji_beir: where its packages are kept; a set of texts may be a file)"
    stage.add_argument("--root", type=Path, help=root)
    stage.add_argument("--out", type=Path, help="the data directory to make; it must not exist")
    stage.add_argument(
        "--on-bad-sample",
        choices=("raise", "skip"),
        default="raise",
        help="skip: go on, and list them in skipped.jsonl",
    )
    stage.add_argument("--tasks", nargs="+", help="mbeir: only these task rows, e.g. cirr_task7 (default: all)")
    stage.add_argument("--task", help="parquet: the task row that the mirror holds, e.g. cirr_task7")
    splits = "mbeir, beir, sets of texts, circo, cirr, fashioniq: only these of train, val and test (default: all)"
    stage.add_argument("--splits", nargs="+", choices=("train", "val", "test"), help=splits)
    pool = "mbeir: documents of validation queries: union (default): what they name; local: all local pools"
    stage.add_argument("--val-pool", choices=("union", "local"), help=pool)
    stage.add_argument("--size", choices=("smoke", "small", "full"), help="emoji_beir: how large (default: small)")
    stage.add_argument("--shard-bytes", type=int, default=1 << 30, help="size of a shard")
    stage.add_argument(
        "--query-text",
        choices=("paper", "magiclens", "e5v"),
        help="circo, cirr, fashioniq: how a query's text is written, docs/composed.md (default: paper)",
    )
    texts = stage.add_argument_group("sets of texts", f"--source {', '.join(TEXT_FORMS)}; `texts` has a texts.yaml")
    texts.add_argument("--name", help="the set's name (default: the file's or the folder's)")
    texts.add_argument("--dataset-id", type=int, help="the set's number, in front of every id (default: 100)")
    texts.add_argument("--instruction", nargs="+", metavar="SENTENCE", help="one to four wordings")
    columns = "ROLE=COLUMN: query, positive, negative; nli: premise, hypothesis, label"
    texts.add_argument("--columns", nargs="+", metavar="ROLE=COLUMN", help=columns)
    texts.add_argument("--corpus", nargs="+", type=Path, help="tevatron: files of the corpus (default: by their names)")
    texts.add_argument("--held-out", nargs="+", metavar="SPLIT=SHARE", help="of training queries, e.g. val=0.05")

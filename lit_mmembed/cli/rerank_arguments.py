"""The flags of `mmembed rerank`. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import stage as _stage

TEMPLATES = ("none", "llava_mistral", "checkpoint")
TRANSFORMS = ("probability", "logit")
PRECISIONS = {"32-true": "float32", "bf16-true": "bfloat16", "16-true": "float16"}


def rerank(stages: argparse._SubParsersAction) -> None:
    """`mmembed rerank`."""
    stage = _stage(
        stages, "rerank", "Put the best documents of a ranking in a multimodal LLM's order. A killed run goes on."
    )
    stage.add_argument("--run", type=Path, required=True, help="ranking, or a folder of `mmembed evaluate`")
    stage.add_argument("--pool", choices=("global", "local"), default="global", help="with a folder: which ranking")
    stage.add_argument("--data", type=Path, required=True, help="data directory that the ranking is of")
    stage.add_argument("--split", default="test", help="its split")
    stage.add_argument("--k", type=int, default=10, help="documents per query that are asked about")
    tasks = "only queries of these tasks, e.g. cirr_task7 (default: all); the others' rankings stay as they are"
    stage.add_argument("--tasks", nargs="+", metavar="TASK", help=tasks)
    stage.add_argument("--out", type=Path, required=True, help="ranking: .parquet, or .trec for a TREC run")
    stage.add_argument(
        "--model", metavar="FOLDER_OR_NAME", help="LLaVA-Next checkpoint, or another chat model of transformers"
    )
    stage.add_argument("--oracle", action="store_true", help="in place of a model: the labels, for an upper bound")
    stage.add_argument(
        "--answers",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="in place of a model: OUT.answers.parquet of this ranking, or those of all its parts",
    )
    _asking(stage)
    _fusing(stage)


def _asking(stage: argparse.ArgumentParser) -> None:
    asking = stage.add_argument_group("asking")
    asking.add_argument(
        "--template",
        choices=TEMPLATES,
        default="none",
        help="chat template around the question; checkpoint: the one that the checkpoint brings",
    )
    asking.add_argument("--any-resolution", action="store_true", help="LLaVA-Next: look at an image's tiles too")
    asking.add_argument("--document-tokens", type=int, help="cut documents' texts to this (default: not cut)")
    asking.add_argument("--max-tokens", type=int, help="longest prompt (default: the model's context)")
    asking.add_argument("--tokens", type=int, default=8192, help="tokens per forward pass")
    asking.add_argument("--vision-cache", type=int, default=2048, help="MiB of images' features kept for other queries")
    asking.add_argument("--precision", choices=tuple(PRECISIONS), default="32-true", help="of weights and activations")
    asking.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    devices = "processes, each with its GPU (auto: as many as there are GPUs)"
    asking.add_argument("--devices", default="auto", metavar="N", help=devices)
    part = "only each N-th query from the I-th on: OUT.partI-of-N.answers.parquet, for --answers"
    asking.add_argument("--part", metavar="I/N", help=part)


def _fusing(stage: argparse.ArgumentParser) -> None:
    fusing = stage.add_argument_group("fusion", "scores of retrieval and reranker together; docs/reranking.md")
    fusing.add_argument("--fusion-weight", type=float, metavar="W", help="of the reranker, 0 to 1")
    fusing.add_argument(
        "--fusion-transform", choices=TRANSFORMS, default="probability", help="with --fusion-weight: what is mixed"
    )
    fusing.add_argument("--fusion", type=Path, metavar="FILE", help="weight that was chosen on validation")
    fusing.add_argument(
        "--choose-weight", type=Path, metavar="FILE", help="choose the weight on this ranking and write it here"
    )

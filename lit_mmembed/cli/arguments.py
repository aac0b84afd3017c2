"""The flags of every stage that is not LightningCLI. Only argparse is imported, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from lit_mmembed.cli.agent import agent_folder
from lit_mmembed.cli.evaluation_arguments import compare, evaluate, report
from lit_mmembed.cli.mining_arguments import mine
from lit_mmembed.cli.model_arguments import convert, merge, model_flags
from lit_mmembed.cli.model_arguments import stage as _stage
from lit_mmembed.cli.rerank_arguments import rerank
from lit_mmembed.cli.sharding_arguments import shard
from lit_mmembed.cli.sweep.arguments import sweep
from lit_mmembed.errors import InputError

INITIAL_KINDS = ("clip", "llava_next", "nv_embed")


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, as everything else does, instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise it as an error of the user's."""
        raise InputError(message, fix=f"see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """The parser of all stages."""
    root = OneLineParser(prog="mmembed")
    stages = root.add_subparsers(dest="stage", required=True)
    for add in (
        shard,
        _texts,
        _tokenizer,
        _initial,
        convert,
        merge,
        _encode,
        _search,
        mine,
        rerank,
        evaluate,
        compare,
        report,
        _run,
        sweep,
        _plan,
        _doctor,
    ):
        add(stages)
    return root


def _tokenizer(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "tokenizer", "Train a BPE tokenizer on the texts and instructions of a training split.")
    stage.add_argument("--data", type=Path, required=True, help="data directory")
    stage.add_argument(
        "--out", type=Path, required=True, help="tokenizer.json to write; with --style llm, the folder to make"
    )
    stage.add_argument("--vocab-size", type=int, default=4096, help="entries of the vocabulary")
    stage.add_argument(
        "--style",
        choices=("clip", "llm"),
        default="clip",
        help="llm: a Hugging Face tokenizer for a language model, which also saw the paper's prompts",
    )


def _texts(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "texts", "Pair texts of a data directory: questions with passages, captions of one picture.")
    stage.add_argument("--data", type=Path, required=True, help="data directory")
    stage.add_argument("--out", type=Path, required=True, help="folder to make, for `mmembed shard --source jsonl`")


def _initial(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "initial", "Write a checkpoint folder with random weights in transformers' own format.")
    stage.add_argument("--kind", choices=INITIAL_KINDS, required=True, help="what to make; nv_embed as NV-Embed-v1 is")
    stage.add_argument("--config", type=Path, required=True, help="JSON: experiments/encoders/tiny_*.json")
    stage.add_argument("--tokenizer", type=Path, required=True, help="folder of `mmembed tokenizer --style llm`")
    stage.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    stage.add_argument("--seed", type=int, default=0, help="seed of the weights")
    stage.add_argument("--vision", type=Path, help="llava_next: model whose CLIP vision tower is taken")
    stage.add_argument("--language", type=Path, help="llava_next, nv_embed: model whose language model is taken")


def _encode(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "encode", "Embed a collection into a store. A killed run goes on where it was.")
    stage.add_argument("--model", type=Path, required=True, help="model folder: RUN/model")
    stage.add_argument(
        "--data",
        type=Path,
        required=True,
        help="a shard set (DATA/queries/test or DATA/candidates/test), or a data directory: then both sides of --split "
        "are embedded, into OUT/queries and OUT/candidates",
    )
    stage.add_argument("--out", type=Path, required=True, help="store to make")
    stage.add_argument("--split", default="test", help="with a data directory: which split")
    stage.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="how vectors are stored")
    model_flags(stage)


def _search(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "search", "Find the best documents of each query. A killed search goes on where it was.")
    stage.add_argument("--queries", type=Path, required=True, help="store of the queries")
    stage.add_argument("--candidates", type=Path, required=True, help="store of the documents")
    stage.add_argument("--out", type=Path, required=True, help="ranking: .parquet, or .trec for a TREC run")
    stage.add_argument("--depth", type=int, default=50, help="documents per query")
    stage.add_argument(
        "--index", choices=("exact", "faiss"), default="exact", help="exact torch search, or a flat FAISS index"
    )
    stage.add_argument("--device", default="auto", help="auto, cpu or cuda")
    stage.add_argument("--query-block", type=int, default=4096, help="queries in memory at a time")
    stage.add_argument("--tile", type=int, default=32768, help="documents in memory at a time")


def _run(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "run", "Run the stages of a recipe in order; those already done are skipped.")
    stage.add_argument("recipe", type=Path, help="recipe YAML, e.g. experiments/emoji_beir/quickstart.yaml")
    stage.add_argument("--smoke", action="store_true", help="the recipe's small settings, in a run folder of their own")
    stage.add_argument("--seed", type=int, default=0, help="seed of everything; each seed has its own folder")
    change = "change the recipe, e.g. vars.root=/data/M-BEIR; --vars.root=/data/M-BEIR is the same"
    stage.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=change)
    stage.add_argument("--out", type=Path, default=agent_folder("runs"), help="where run folders lie")
    fresh = "take over no finished stage of another run folder, and run again those that were"
    stage.add_argument("--fresh", action="store_true", help=fresh)


def _plan(stages: argparse._SubParsersAction) -> None:
    stage = _stage(
        stages, "plan", "Memory and time of a fit; GPU-hours and disk of a recipe; before anything is started."
    )
    stage.add_argument("recipe", type=Path, nargs="*", help="recipe YAML, several for their table; or -c of a fit")
    stage.add_argument("-c", "--config", action="append", default=[], help="a YAML of a fit, as often as there are")
    change = "change it, e.g. data.batch_size=512"
    stage.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=change)
    stage.add_argument("--data", type=Path, help="data directory: modalities and lengths (default: M-BEIR's)")
    stage.add_argument("--gpu", default="h100", help="a100 (80 GB), h100 or h200")
    stage.add_argument("--gpus", type=int, help="how many (default: trainer.devices, or 1)")
    stage.add_argument("--mfu", type=float, default=0.4, help="share of the peak reached; train/mfu of a run tells it")
    stage.add_argument("--json", type=Path, help="also write every number here")
    stage.add_argument("--details", action="store_true", help="of a recipe: also memory, steps and FLOPs of each fit")
    stage.add_argument("--smoke", action="store_true", help="of a recipe: its small settings")
    stage.add_argument("--seed", type=int, default=0, help="of a recipe: stages of which seed are done already")
    stage.add_argument("--out", type=Path, default=agent_folder("runs"), help="of a recipe: where run folders lie")


def _doctor(stages: argparse._SubParsersAction) -> None:
    _stage(stages, "doctor", "Look at packages, devices, index and disk, and say what would not work and the fix.")

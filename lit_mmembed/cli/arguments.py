"""The flags of every stage that is not LightningCLI. Only argparse is imported, so that `--help` answers at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from lit_mmembed.cli.model_arguments import convert, merge
from lit_mmembed.cli.model_arguments import stage as _stage
from lit_mmembed.errors import InputError

SOURCES = ("mbeir", "parquet", "beir", "jsonl", "emoji_beir")
INITIAL_KINDS = ("clip", "llava_next", "nv_embed")
PROMPTS = ("first", "random", "all", "none")


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
        _shard,
        _texts,
        _tokenizer,
        _initial,
        convert,
        merge,
        _encode,
        _search,
        _mine,
        _evaluate,
        _compare,
        _report,
        _run,
        _plan,
        _doctor,
    ):
        add(stages)
    return root


def _shard(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "shard", "Turn a source into a data directory of WebDataset shards, or verify one.")
    stage.add_argument("--verify", type=Path, metavar="DIR", help="check every byte of a data directory or shard set")
    stage.add_argument("--source", choices=SOURCES, help="what the source is; docs/data.md describes each")
    stage.add_argument("--root", type=Path, help="the source's folder (emoji_beir: where its packages are kept)")
    stage.add_argument("--out", type=Path, help="the data directory to make; it must not exist")
    stage.add_argument(
        "--on-bad-sample",
        choices=("raise", "skip"),
        default="raise",
        help="skip: go on, and list them in skipped.jsonl",
    )
    stage.add_argument("--tasks", nargs="+", help="mbeir: only these task rows, e.g. cirr_task7 (default: all)")
    stage.add_argument("--task", help="parquet: the task row that the mirror holds, e.g. cirr_task7")
    stage.add_argument("--splits", nargs="+", help="beir: only these of train, val and test (default: all)")
    stage.add_argument("--size", choices=("smoke", "small", "full"), help="emoji_beir: how large (default: small)")
    stage.add_argument("--shard-bytes", type=int, default=1 << 30, help="size of a shard")


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
    _model_flags(stage)


def _model_flags(stage: argparse.ArgumentParser) -> None:
    stage.add_argument(
        "--prompts", choices=PROMPTS, default="first", help="which wording of the instruction queries carry"
    )
    stage.add_argument(
        "--precision", choices=("32-true", "16-mixed", "bf16-mixed"), default="32-true", help="precision to embed in"
    )
    stage.add_argument("--rows", type=int, default=256, help="rows per forward pass, at most")
    stage.add_argument("--tokens", type=int, help="tokens per forward pass, images expanded (default: only rows count)")
    stage.add_argument("--workers", type=int, default=0, help="worker processes that decode")
    stage.add_argument("--seed", type=int, default=0, help="seed of the wordings drawn under --prompts random")
    stage.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    stage.add_argument("--allow-imports", nargs="*", default=[], help="packages that a model's class_path may name")


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


def _mine(stages: argparse._SubParsersAction) -> None:
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


def _evaluate(stages: argparse._SubParsersAction) -> None:
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
    _model_flags(stage)


def _compare(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "compare", "Test whether two rankings differ: a paired randomisation test over queries.")
    stage.add_argument("--runs", type=Path, nargs=2, required=True, metavar=("A", "B"), help="two rankings")
    stage.add_argument("--qrels", type=Path, required=True, help="qrels")
    stage.add_argument("--metric", default="hit", help="hit, recall, ndcg, map or mrr")
    stage.add_argument("--k", type=int, default=5, help="cut-off")
    stage.add_argument("--seed", type=int, default=0, help="seed of the resampling")


def _report(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "report", "Write one static page, a Markdown file and a CSV about a run folder.")
    stage.add_argument("run_dir", type=Path, help="folder with the stages of one or more runs")
    stage.add_argument("--out", type=Path, required=True, help="folder for index.html, report.md and scores.csv")


def _run(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "run", "Run the stages of a recipe in order; those already done are skipped.")
    stage.add_argument("recipe", type=Path, help="recipe YAML, e.g. experiments/emoji_beir/quickstart.yaml")
    stage.add_argument("--smoke", action="store_true", help="the recipe's small settings, in a run folder of their own")
    stage.add_argument("--seed", type=int, default=0, help="seed of everything; each seed has its own folder")
    stage.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="change the recipe, e.g. vars.root=/data/M-BEIR"
    )
    stage.add_argument("--out", type=Path, default=Path("runs"), help="where run folders lie")


def _plan(stages: argparse._SubParsersAction) -> None:
    stage = _stage(stages, "plan", "Memory and time of a fit, or of a recipe's fits, before anything is started.")
    stage.add_argument("recipe", type=Path, nargs="?", help="recipe YAML; or name a fit's YAMLs with -c")
    stage.add_argument("-c", "--config", action="append", default=[], help="a YAML of a fit, as often as there are")
    change = "change it, e.g. data.batch_size=512"
    stage.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=change)
    stage.add_argument("--data", type=Path, help="data directory: modalities and lengths (default: M-BEIR's)")
    stage.add_argument("--gpu", default="h100", help="a100 (80 GB), h100 or h200")
    stage.add_argument("--gpus", type=int, help="how many (default: trainer.devices, or 1)")
    stage.add_argument("--mfu", type=float, default=0.4, help="share of the peak reached; train/mfu of a run tells it")
    stage.add_argument("--json", type=Path, help="also write every number here")


def _doctor(stages: argparse._SubParsersAction) -> None:
    _stage(stages, "doctor", "Look at packages, devices, index and disk, and say what would not work and the fix.")

"""The stages that are plain functions of files. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

from lit_mmembed.cli.arguments import parser
from lit_mmembed.cli.model_stages import convert, initial, merge
from lit_mmembed.errors import InputError

FAILED = 1


def main(arguments: list[str]) -> int:
    """Parse the flags and run the stage; return the exit status."""
    flags = parser().parse_args(arguments)
    stage: Callable[[argparse.Namespace], int | None] = STAGES[flags.stage]
    return stage(flags) or 0


def shard(flags: argparse.Namespace) -> int:
    """`mmembed shard`."""
    if flags.verify:
        from lit_mmembed.data.verify import verify

        problems = verify(flags.verify)
        for problem in problems:
            print(problem)
        print(f"{flags.verify}: {len(problems)} problems" if problems else f"{flags.verify}: every byte is as written")
        return FAILED if problems else 0
    _require(flags, "source", "root", "out")
    from lit_mmembed.data.sharding import shard as shard_source

    chosen = {"tasks": flags.tasks, "task": flags.task, "splits": flags.splits, "size": flags.size}
    options = {name: value for name, value in chosen.items() if value is not None}
    out = shard_source(
        source=flags.source,
        root=flags.root,
        out=flags.out,
        on_bad_sample=flags.on_bad_sample,
        shard_bytes=flags.shard_bytes,
        **options,
    )
    manifest = json.loads((out / "manifest.json").read_text())
    for part, count in sorted(manifest["counts"].items()):
        print(f"{part:<20} {count:>9,}")
    if manifest["skipped"]:
        print(f"skipped {manifest['skipped']} damaged samples: {out / 'skipped.jsonl'}")
    return 0


def tokenizer(flags: argparse.Namespace) -> None:
    """`mmembed tokenizer`."""
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.data.instructions import Instructions
    from lit_mmembed.encoders.tokenizer import train_tokenizer

    directory = DataDirectory(flags.data)
    texts = [s.text for reader in (directory.queries("train"), directory.candidates("train")) for s in reader if s.text]
    if directory.instructions_path:
        instructions = Instructions.load(directory.instructions_path)
        texts += [wording for task in directory.tasks for wording in instructions.wordings(task)]
    if flags.style == "clip":
        train_tokenizer(texts, flags.out, vocab_size=flags.vocab_size)
        return
    from lit_mmembed.encoders.llm_tokenizer import prompt_wordings, train_llm_tokenizer

    train_llm_tokenizer([*texts, *prompt_wordings()], flags.out, vocab_size=flags.vocab_size)


def texts(flags: argparse.Namespace) -> None:
    """`mmembed texts`."""
    from lit_mmembed.data.text_pairs import write_text_pairs

    write_text_pairs(flags.data, flags.out)


def encode(flags: argparse.Namespace) -> None:
    """`mmembed encode`."""
    from lit_mmembed.cli.encoding import encode as encode_stage

    encode_stage(flags)


def search(flags: argparse.Namespace) -> None:
    """`mmembed search`."""
    from lit_mmembed.progress import progress
    from lit_mmembed.retrieval.search import search as search_stage

    with progress("search", unit="queries") as step:
        search_stage(
            flags.queries,
            flags.candidates,
            flags.out,
            depth=flags.depth,
            index=flags.index,
            device=flags.device,
            query_block=flags.query_block,
            tile=flags.tile,
            progress=step,
        )


def mine(flags: argparse.Namespace) -> None:
    """`mmembed mine`."""
    if flags.random is not None:
        from lit_mmembed.mining.miner import random_negatives

        random_negatives(
            flags.queries,
            flags.candidates,
            flags.out,
            per_query=flags.random,
            seed=flags.seed,
            statistics=flags.statistics,
        )
        return
    _require(flags, "run")
    from lit_mmembed.mining.miner import mine as mine_stage

    mine_stage(
        flags.run,
        flags.queries,
        flags.candidates,
        flags.out,
        depth=flags.depth,
        k_prime=flags.k_prime,
        seed=flags.seed,
        statistics=flags.statistics,
    )


def evaluate(flags: argparse.Namespace) -> None:
    """`mmembed evaluate`."""
    if flags.model or flags.stores:
        _require(flags, "data", "out")
        from lit_mmembed.cli.encoding import evaluate_model

        evaluate_model(flags)
        return
    _require(flags, "run", "qrels")
    from lit_mmembed.cli.tables import print_scores
    from lit_mmembed.evaluation.mbeir import evaluate as evaluate_run

    scores = evaluate_run(
        run=flags.run,
        qrels=flags.qrels,
        queries=flags.queries,
        candidates=flags.candidates,
        k=tuple(flags.k),
        json=flags.json,
        pool=flags.pool,
        bootstrap=flags.bootstrap,
        seed=flags.seed,
    )
    print_scores(scores)


def compare(flags: argparse.Namespace) -> None:
    """`mmembed compare`."""
    from lit_mmembed.cli.tables import print_comparison
    from lit_mmembed.evaluation.compare import compare as compare_runs

    a, b = flags.runs
    print_comparison(compare_runs(a, b, flags.qrels, metric=flags.metric, k=flags.k, seed=flags.seed))


def report(flags: argparse.Namespace) -> None:
    """`mmembed report`."""
    from lit_mmembed.evaluation.report import report as write_report

    print(write_report(flags.run_dir, flags.out))


def run(flags: argparse.Namespace) -> None:
    """`mmembed run`."""
    from lit_mmembed.cli.recipe import run as run_recipe

    run_recipe(flags.recipe, smoke=flags.smoke, seed=flags.seed, out=flags.out, changes=flags.set)


def plan(flags: argparse.Namespace) -> None:
    """`mmembed plan`."""
    from lit_mmembed.cli.planning import plan as plan_experiment

    plan_experiment(flags)


def doctor(flags: argparse.Namespace) -> int:
    """`mmembed doctor`."""
    from lit_mmembed.cli.doctor import doctor as examine

    return FAILED if examine() else 0


STAGES: dict[str, Callable[[argparse.Namespace], int | None]] = {
    function.__name__: function
    for function in (
        shard,
        texts,
        tokenizer,
        initial,
        convert,
        merge,
        encode,
        search,
        mine,
        evaluate,
        compare,
        report,
        run,
        plan,
        doctor,
    )
}


def _require(flags: argparse.Namespace, *names: str) -> None:
    missing = [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) is None]
    if missing:
        raise InputError(
            f"`mmembed {flags.stage}` needs {', '.join(missing)}", fix=f"see `mmembed {flags.stage} --help`"
        )

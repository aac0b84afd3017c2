"""The stages that are plain functions of files. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lit_mmembed.cli.arguments import parser
from lit_mmembed.cli.evaluation_stages import compare, evaluate, report
from lit_mmembed.cli.mining_stages import mine
from lit_mmembed.cli.model_stages import convert, initial, merge
from lit_mmembed.cli.rerank_stage import rerank
from lit_mmembed.cli.sharding_stages import shard

FAILED = 1


def main(arguments: list[str]) -> int:
    """Parse the flags and run the stage; return the exit status."""
    flags = parse(arguments)
    stage: Callable[[argparse.Namespace], int | None] = STAGES[flags.stage]
    return stage(flags) or 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the flags of a stage; InputError says what is wrong with them."""
    return parser().parse_args(_with_variables_set(arguments) if arguments[0] == "run" else arguments)


def _with_variables_set(arguments: list[str]) -> list[str]:
    """Write `--vars.NAME=VALUE`, which is what W&B's sweeps can say, as `--set vars.NAME=VALUE`."""
    changes = [part for flag in arguments if flag.startswith("--vars.") for part in ("--set", flag[2:])]
    return [*(flag for flag in arguments if not flag.startswith("--vars.")), *changes]


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


def run(flags: argparse.Namespace) -> None:
    """`mmembed run`."""
    from lit_mmembed.cli.recipe import run as run_recipe

    run_recipe(flags.recipe, smoke=flags.smoke, seed=flags.seed, out=flags.out, changes=flags.set, fresh=flags.fresh)


def sweep(flags: argparse.Namespace) -> None:
    """`mmembed sweep`."""
    from lit_mmembed.cli.sweep.runner import sweep as run_sweep

    run_sweep(flags.file, out=flags.out, workers=flags.workers, count=flags.count, seed=flags.seed)


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
        rerank,
        evaluate,
        compare,
        report,
        run,
        sweep,
        plan,
        doctor,
    )
}

"""`mmembed mine`. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lit_mmembed.cli.mining_arguments import FILTERS
from lit_mmembed.cli.model_stages import require
from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from lit_mmembed.mining.rules import NegativeRule

SOURCES = ("run", "teacher", "stores", "random")


def mine(flags: argparse.Namespace) -> None:
    """`mmembed mine`."""
    given = [f"--{name}" for name in SOURCES if getattr(flags, name) is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are two ways to find negatives", fix="give one of them")
    if flags.random is not None:
        _random(flags)
        return
    rules = _rules(flags)
    if flags.teacher or flags.stores:
        require(flags, "data")
        from lit_mmembed.cli.teacher import mine_with_teacher

        mine_with_teacher(flags, rules)
        return
    require(flags, "run", "queries", "candidates")
    mine_run(flags, rules, run=flags.run, queries=flags.queries, candidates=flags.candidates)


def mine_run(
    flags: argparse.Namespace, rules: list[NegativeRule] | None, *, run: Path, queries: Path, candidates: Path
) -> None:
    """Apply the rules to a ranking and write what they find."""
    from lit_mmembed.mining.miner import mine as mine_stage

    mine_stage(
        run,
        queries,
        candidates,
        flags.out,
        depth=flags.depth,
        k_prime=flags.k_prime,
        seed=flags.seed,
        rules=rules,
        keep=flags.keep,
        keep_kinds=flags.keep_kinds,
        statistics=flags.statistics,
    )


def _random(flags: argparse.Namespace) -> None:
    require(flags, "queries", "candidates")
    if flags.keep is not None:
        raise InputError("--random keeps no older negatives", fix="leave --keep out, or mine a ranking: --run")
    from lit_mmembed.mining.miner import random_negatives

    random_negatives(
        flags.queries,
        flags.candidates,
        flags.out,
        per_query=flags.random,
        seed=flags.seed,
        statistics=flags.statistics,
    )


def _rules(flags: argparse.Namespace) -> list[NegativeRule] | None:
    """The rules that were named; None for the paper's two."""
    from lit_mmembed.mining.miner import rules_applied
    from lit_mmembed.mining.rules import PositiveAware, Unsatisfying, WrongModality

    filters = {name: getattr(flags, name) for name in FILTERS if getattr(flags, name) is not None}
    if filters and "positive_aware" not in (flags.rules or ()):
        name = next(iter(filters)).replace("_", "-")
        raise InputError(f"--{name} is of the rule positive_aware", fix="add it: --rules positive_aware")
    if flags.rules is None:
        return None
    makers = {
        "wrong_modality": lambda: WrongModality(flags.depth),
        "unsatisfying": lambda: Unsatisfying(flags.k_prime, flags.depth),
        "positive_aware": lambda: PositiveAware(**filters, seed=flags.seed),
    }
    return rules_applied([makers[name]() for name in flags.rules], kept=flags.keep_kinds if flags.keep else ())

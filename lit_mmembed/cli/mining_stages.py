"""`mmembed mine`. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse

from lit_mmembed.cli.model_stages import require


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
    require(flags, "run")
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

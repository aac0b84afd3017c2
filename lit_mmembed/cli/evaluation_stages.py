"""The stages that score, compare and report. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse

from lit_mmembed.cli.model_stages import require


def evaluate(flags: argparse.Namespace) -> None:
    """`mmembed evaluate`."""
    if flags.model or flags.stores:
        require(flags, "data", "out")
        from lit_mmembed.cli.encoding import evaluate_model

        evaluate_model(flags)
        return
    require(flags, "run", "qrels")
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

"""The stages that score, compare and report. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_stages import require
from lit_mmembed.errors import InputError
from lit_mmembed.types import Score


def evaluate(flags: argparse.Namespace) -> int:
    """`mmembed evaluate`."""
    flags.split = flags.split or ("val" if flags.protocol else "test")
    scores = _evaluated(flags)
    if not flags.expect:
        return 0
    from lit_mmembed.cli.composed import print_expectations

    return print_expectations(flags.expect, scores)


def _evaluated(flags: argparse.Namespace) -> list[Score]:
    """Score whatever the flags name; or read scores that were made before."""
    if flags.scores:
        require(flags, "expect")
        return [score for path in flags.scores for score in _written(path)]
    if flags.protocol:
        require(flags, "data", "out")
        from lit_mmembed.cli.composed import evaluate_protocol

        return evaluate_protocol(flags)
    if flags.mteb:
        require(flags, "model", "out")
        from lit_mmembed.cli.mteb_stage import evaluate_mteb

        evaluate_mteb(flags)
        return _written(flags.out / "scores.jsonl") if flags.expect else []
    if flags.model or flags.stores:
        require(flags, "data", "out")
        from lit_mmembed.cli.encoding import evaluate_model

        return evaluate_model(flags)
    return _evaluate_run(flags)


def _written(path: Path) -> list[Score]:
    from lit_mmembed.evaluation.scores import read_scores

    return read_scores(path)


def _evaluate_run(flags: argparse.Namespace) -> list[Score]:
    """A ranking of any system, with qrels or over a data directory."""
    if flags.data:
        _of_data(flags)
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
    return scores


def _of_data(flags: argparse.Namespace) -> None:
    """Take qrels, queries and candidates of a split, and write into --out what `evaluate --model` does."""
    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.retrieval.ranking import ranking_record, read_ranking, write_ranking

    require(flags, "run", "out")
    given = [name for name in ("qrels", "queries", "candidates", "json") if getattr(flags, name)]
    if given:
        raise InputError(f"--data has what --{given[0]} says", fix="leave one of them out")
    directory = DataDirectory(flags.data)
    flags.queries = directory.path / "queries" / flags.split
    flags.candidates = directory.path / "candidates" / flags.split
    flags.qrels, flags.json = directory.qrels_path(flags.split), flags.out / "scores.jsonl"
    name = "run_local.parquet" if flags.pool == "local" else "run.parquet"
    write_ranking(flags.out / name, read_ranking(flags.run), record=ranking_record(flags.run))


def compare(flags: argparse.Namespace) -> None:
    """`mmembed compare`."""
    if flags.systems and (flags.runs or flags.qrels):
        raise InputError("`mmembed compare` takes folders, or --runs with --qrels, not both", fix="leave one out")
    if flags.runs or flags.qrels:
        require(flags, "runs", "qrels")
        _compare_rankings(flags)
        return
    from lit_mmembed.cli.tables import print_notes, print_table
    from lit_mmembed.evaluation.comparison import compare_runs, write_comparison
    from lit_mmembed.evaluation.comparison.tables import explanations_of, findings_of, tables_of

    comparison = compare_runs(
        flags.systems,
        data=flags.data,
        pool=flags.pool,
        metric=flags.metric,
        k=flags.k,
        samples=flags.samples,
        seed=flags.seed,
    )
    for table in tables_of(comparison):
        print_table(table)
    print_notes([*findings_of(comparison), *explanations_of(comparison)])
    if flags.out:
        print(write_comparison(comparison, flags.out))


def _compare_rankings(flags: argparse.Namespace) -> None:
    """Two ranking files, without a data directory."""
    from lit_mmembed.cli.tables import print_comparison
    from lit_mmembed.evaluation.compare import compare as compare_rankings

    a, b = flags.runs
    options = {"metric": flags.metric or "hit", "k": 5 if flags.k is None else flags.k, "samples": flags.samples}
    print_comparison(compare_rankings(a, b, flags.qrels, seed=flags.seed, **options))


def report(flags: argparse.Namespace) -> None:
    """`mmembed report`."""
    if flags.paper is not None:
        from lit_mmembed.evaluation.report.paper_tables import paper_report

        text, page = paper_report(flags.run_dir, flags.paper, flags.out, on_conflict=flags.on_conflict or "error")
        print(text)
        print(page)
        return
    if flags.on_conflict:
        raise InputError("--on-conflict is for --paper", fix="leave it out, or add --paper")
    if len(flags.run_dir) > 1:
        fix = "name one, or add --paper for the paper's tables from several"
        raise InputError(f"`mmembed report` takes one run folder, not {len(flags.run_dir)}", fix=fix)
    from lit_mmembed.evaluation.report import report as write_report

    print(write_report(flags.run_dir[0], flags.out))

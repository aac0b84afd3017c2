"""Numbers as plain rows: one dictionary per number, labels and all; `pandas.DataFrame(rows)` takes them as they are."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Evaluation, Run, Stage
from lit_mmembed.evaluation.report.stage import NOT_RERANKED, RERANKED
from lit_mmembed.evaluation.report.summary import Summary, difference

Row = dict[str, Any]
NUMBERS = ("value", "low", "high")
NOT_OF_A_SYSTEM = ("seed", "stage", *NUMBERS)
"""Columns in which the rows of one system's seeds differ."""
MAIN = "main"
"""The run's own benchmark, in the column `set`."""
WHOLE, REAL = ("seed", "k", "n"), NUMBERS


def score_rows(run: Run) -> list[Row]:
    """Every number of a run, in the order of the report's tables.

    Columns: the recipe's labels, `model`, `encoder`, `instructions`, `variant`, `seed`, `split`, `stage`; `set`:
    "texts" for evaluations on text-to-text sets beside the run's own benchmark, "circo" for CIRCO's protocol,
    "reranked" for rankings that a reranker has ordered, else "main"; `reranker` ("" outside a reranking study, "none"
    for what was reranked); `task`, `dataset`, `pool`, `metric`, `k`; `value` (a share, 0 to 1), `low` and `high` (95 %
    interval over queries, or None) and `n` (queries).
    """
    rows = []
    for evaluation in run.everything:
        labels = labels_of_evaluation(evaluation)
        labels["split"] = str(evaluation.stage.arguments.get("split", ""))
        for s in evaluation.scores:
            measured = {"task": s.task, "dataset": s.dataset, "pool": s.pool, "metric": s.metric, "k": s.k}
            rows.append(labels | measured | {"value": s.value, "low": s.low, "high": s.high, "n": s.n})
    return rows


def labels_of(stage: Stage) -> Row:
    """What tells a stage from others: its labels, its system, its seed and its name."""
    return {**stage.labels, **stage.system._asdict(), "seed": stage.seed, "stage": stage.name}


def labels_of_evaluation(evaluation: Evaluation) -> Row:
    """What tells an evaluation from others: also which of the run's benchmarks it is on."""
    reranker = evaluation.stage.reranker
    of_set = evaluation.stage.labels.get("set") or (MAIN if reranker in ("", NOT_RERANKED) else RERANKED)
    own = {"set": of_set, "reranker": reranker}
    return {**labels_of(evaluation.stage), **evaluation.system._asdict(), **own}


def recorded_scores(path: str | Path) -> list[Row]:
    """Read the `scores.csv` that a report has written: the rows of `Results.scores()`, without further labels.

    Raises:
        InputError: no such file, or a line that is no score.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("does not exist", file=path, fix="name the scores.csv of a report")
    rows: list[Row] = []
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                whole = {name: int(row[name]) for name in WHOLE}
                real = {name: float(row[name]) if row[name] else None for name in REAL}
            except (KeyError, TypeError, ValueError) as broken:
                raise InputError(
                    f"is not a score: {broken}", file=path, record=f"line {number}", fix="write the report again"
                ) from None
            rows.append({**row, **whole, **real})
    return rows


def select(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> list[Row]:
    """Return the rows that have the labels asked for.

    Args:
        rows: Rows of any kind.
        wanted: Column -> the value it must have, or a collection of values that it may have; None asks for nothing.

    Raises:
        InputError: no row has this column, or this value in it. That no row has all of them is no error.
    """
    known_rows: list[Row] = [dict(row) for row in rows]
    asked = {name: _values(value) for name, value in wanted.items() if value is not None}
    for name, values in asked.items():
        known = dict.fromkeys(str(row[name]) for row in known_rows if name in row)
        if known_rows and not known:
            columns = sorted({column for row in known_rows for column in row} - set(NUMBERS))
            raise InputError(f"no row has a {name}", fix=f"ask for one of {', '.join(columns)}")
        if known_rows and not any(row.get(name) in values for row in known_rows):
            named = " or ".join(repr(value) for value in values)
            raise InputError(f"no row has {name} {named}", fix=f"there is {', '.join(known)}")
    return [row for row in known_rows if all(row.get(name) in values for name, values in asked.items())]


def means(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Average rows over seeds.

    Returns:
        One row per system, task, pool and metric: its labels, `mean`, `std` (of the sample; None for one seed),
        `seeds` (how many) and `values` (seed -> value).

    Raises:
        InputError: two rows differ in no label and have the same seed.
    """
    return [
        {**labels, "mean": seeds.mean, "std": seeds.std, "seeds": seeds.n, "values": dict(seeds.values)}
        for labels, seeds in _over_seeds(rows, NOT_OF_A_SYSTEM).values()
    ]


def differences(
    rows: Iterable[Mapping[str, Any]], a: Mapping[str, Any], b: Mapping[str, Any], *, across: Sequence[str] = ()
) -> list[Row]:
    """Subtract system b from system a, seed by seed.

    Args:
        rows: The rows of both.
        a: Labels of a, such as {"model": "M_hard"}.
        b: Labels of b, such as {"model": "control"}; all other labels must be the same for the two.
        across: Further columns in which the two may differ.

    Returns:
        One row per task, pool, metric and further label that both have: `mean`, `std`, `seeds` and `values` of a - b
        over the seeds that both have, and `higher`, the number of seeds in which a is higher.

    Raises:
        InputError: a label or a value that no row has; two rows of a (or of b) that nothing tells apart.
    """
    rows = list(rows)
    apart = (*NOT_OF_A_SYSTEM, "variant", "n", *across, *a, *b)
    of_a, of_b = (_over_seeds(select(rows, **labels), apart) for labels in (a, b))
    found = []
    for key, (labels, ours) in of_a.items():
        gap = difference(ours, of_b[key][1] if key in of_b else None)
        if gap is not None:
            numbers = {"mean": gap.mean, "std": gap.std, "seeds": gap.n, "values": dict(gap.values)}
            found.append({**labels, **numbers, "higher": sum(value > 0 for value in gap.values.values())})
    return found


def _values(value: Any) -> Collection[Any]:
    return (value,) if isinstance(value, str) or not isinstance(value, Collection) else value


def _over_seeds(rows: Iterable[Mapping[str, Any]], left_out: Sequence[str]) -> dict[Any, tuple[Row, Summary]]:
    """Group rows by all columns but some: labels, and seed -> value."""
    labels: dict[Any, Row] = {}
    values: dict[Any, dict[int, float]] = {}
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in left_out}
        key = tuple(sorted((name, str(value)) for name, value in kept.items()))
        labels.setdefault(key, kept)
        if row["seed"] in values.setdefault(key, {}):
            apart = sorted(set(left_out) - {"seed", *NUMBERS})
            fix = f"ask for one of them by {', '.join(apart)}"
            record = ", ".join(f"{name} {value}" for name, value in (*kept.items(), ("seed", row["seed"])))
            raise InputError("two rows differ in no label", record=record, fix=fix)
        values[key][row["seed"]] = row["value"]
    return {key: (labels[key], Summary(dict(sorted(values[key].items())))) for key in labels}

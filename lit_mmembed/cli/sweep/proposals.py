"""What to try next: W&B's own grid, random and bayes of the package `sweeps`, each proposal with a seed of its own."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lit_mmembed.cli.sweep.definition import SweepFile, as_json
from lit_mmembed.cli.sweep.trials import Trial
from lit_mmembed.errors import InputError

NEWER_KEYS = ("run_cap",)
"""What W&B's server takes and the package does not know."""


def propose(sweep: SweepFile, trials: Sequence[Trial], *, seed: int) -> dict[str, Any] | None:
    """Return the parameters of trial number len(trials); None when the grid is done.

    A grid's depend on the earlier parameters, random ones on (seed, number), bayes' on the earlier results as well.

    Args:
        sweep: The file.
        trials: All earlier trials; running ones count as tried.
        seed: Of the sweep.
    """
    sweeps = _package()
    runs = [
        sweeps.SweepRun(
            name=str(trial.number),
            state=trial.state,
            config={name: {"value": value} for name, value in trial.parameters.items()},
            summaryMetrics={} if trial.metric is None else {sweep.metric: trial.metric},
        )
        for trial in trials
    ]
    with _seeded(seed, len(trials)), warnings.catch_warnings():
        # The Gaussian process of bayes says at length that three points are few.
        for message in ("The optimal value found for dimension", "lbfgs failed to converge"):
            warnings.filterwarnings("ignore", message=message)
        try:
            run = sweeps.next_run(known(sweep.content), runs)
        except (ValueError, AssertionError) as wrong:
            raise InputError(f"cannot be searched: {wrong}", file=sweep.path, fix="see W&B's sweep format") from None
    return None if run is None else as_json({name: entry["value"] for name, entry in run.config.items()})


def refuse_malformed(sweep: SweepFile) -> None:
    """Check the file against W&B's schema; InputError says what it does not allow."""
    _package()
    from sweeps.config import schema_violations_from_proposed_config

    try:
        violations = schema_violations_from_proposed_config(known(sweep.content))
    except ValueError as wrong:
        violations = [str(wrong)]
    if violations:
        problem = "; ".join(dict.fromkeys(violations))
        raise InputError(f"is not W&B's sweep format: {problem[:300]}", file=sweep.path, fix="correct the file")


def known(content: dict[str, Any]) -> dict[str, Any]:
    """Return the sweep without the keys that only W&B's server reads."""
    return {key: value for key, value in content.items() if key not in NEWER_KEYS}


def _package() -> Any:
    with warnings.catch_warnings():
        # It was written for pydantic 1; its one class behaves under pydantic 2 when it is given the fields' aliases.
        warnings.filterwarnings("ignore", message="Valid config keys have changed in V2")
        try:
            import sweeps
        except ImportError:
            fix = "pip install -r requirements-sweep.txt"
            raise InputError("`mmembed sweep` needs the package sweeps", fix=fix) from None
    return sweeps


@contextmanager
def _seeded(seed: int, number: int) -> Iterator[None]:
    """Seed the two global generators that the package draws from, and give them back as they were."""
    plain, vector = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(f"{seed}/{number}")
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(vector)  # noqa: NPY002

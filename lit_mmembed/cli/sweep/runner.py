"""`mmembed sweep FILE`: the trials of a sweep, each a process, going on where it was killed.

    OUT/sweep.json          the file's content, the seed, and what produced the results
    OUT/trials.jsonl        every trial with its parameters, state and metric: the sweep's whole state
    OUT/trials/007/         the seventh trial's run folder (of a recipe: OUT/trials/007/RECIPE/...)
    OUT/trials/007.log      what it printed
    OUT/summary.md ...      tables and plots

A finished or failed trial is never run again. One that was running when the sweep was killed starts again in its
folder: `fit` from its `resume.ckpt`, a recipe from its stages.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lit_mmembed.cli.agent import SWEEPS
from lit_mmembed.cli.execution import RESUMABLE, RESUME_FILE
from lit_mmembed.cli.locking import locked
from lit_mmembed.cli.sweep.checking import refuse_wrong_arguments
from lit_mmembed.cli.sweep.definition import SweepFile, load_sweep, short, trial_arguments
from lit_mmembed.cli.sweep.processes import Running, resources, start
from lit_mmembed.cli.sweep.proposals import propose, refuse_malformed
from lit_mmembed.cli.sweep.summary import write_plots, write_tables
from lit_mmembed.cli.sweep.trials import Trial, last_value, read_trials, write_trials
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json, write_json
from lit_mmembed.record import run_record

SWEEP_FILE = "sweep.json"
HOPELESS = 3
"""The sweep ends when its first trials, this many, have all failed."""
SECONDS_BETWEEN_LOOKS = 0.2
MMEMBED = (sys.executable, "-m", "lit_mmembed")


def sweep(
    file: Path,
    *,
    out: Path | None = None,
    workers: int = 1,
    count: int | None = None,
    seed: int = 0,
    launcher: Sequence[str] = MMEMBED,
) -> Path:
    """Run the trials of a sweep that are not done; return its folder with the summary.

    Args:
        file: The sweep in W&B's format.
        out: Its folder; runs/sweeps/NAME_OF_THE_FILE by default.
        workers: Trials at a time. They share the processors, and the GPUs round robin.
        count: Trials in all; the file's `run_cap`, or the whole grid, by default.
        seed: Of what random and bayes propose.
        launcher: What runs `mmembed`.

    Raises:
        InputError: the file is wrong, its folder holds another sweep, or its first trials all failed.
    """
    definition = load_sweep(file, count=count)
    if workers < 1:
        raise InputError(f"--workers {workers}", fix="at least 1")
    refuse_malformed(definition)
    folder = out or SWEEPS / file.stem
    first = propose(definition, [], seed=seed)
    if first is None:
        raise InputError("proposes no trial", file=file, fix="give each parameter at least one value")
    with TemporaryDirectory() as nowhere:
        refuse_wrong_arguments(definition, trial_arguments(definition, first, Path(nowhere) / "trial"))
    with locked(folder / "lock", "another `mmembed sweep` runs in this folder"):
        _refuse_another(folder, definition, seed)
        runner = _Runner(definition, folder, workers=workers, seed=seed, launcher=tuple(launcher))
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            runner.run()
        finally:
            signal.signal(signal.SIGTERM, previous)
            runner.stop()
        write_plots(folder, definition, runner.trials)
    print(f"{file}: {len(runner.trials)} trials; {folder / 'summary.md'}", flush=True)
    return folder


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _refuse_another(folder: Path, definition: SweepFile, seed: int) -> None:
    """Record what the folder is for, or compare with what is recorded. `run_cap` may grow."""
    what = {key: value for key, value in definition.content.items() if key not in ("run_cap", "description", "name")}
    path = folder / SWEEP_FILE
    if path.exists():
        if {key: read_json(path).get(key) for key in ("sweep", "seed")} != {"sweep": what, "seed": seed}:
            fix = "name another --out, or remove this folder"
            raise InputError("holds a sweep of another file or seed", file=folder, fix=fix)
        return
    packages = {name: metadata.version(name) for name in ("sweeps", "wandb")}
    threads = os.environ.get("OMP_NUM_THREADS")
    record = run_record(file=str(definition.path), packages=packages, threads=threads)
    write_json(path, {"sweep": what, "seed": seed, "record": record})


@dataclass
class _Runner:
    sweep: SweepFile
    folder: Path
    workers: int
    seed: int
    launcher: tuple[str, ...]
    trials: list[Trial] = field(default_factory=list)
    running: dict[int, Running] = field(default_factory=dict)
    """By worker."""

    def run(self) -> None:
        """Start trials as workers become free, until there is none left to start and none runs."""
        self.trials = read_trials(self.folder)
        if _is_hopeless(self.trials):  # whatever it was has been mended, or it will fail again
            again = [trial.number for trial in self.trials if trial.state == "failed"]
            for number in again:
                self.trials[number] = replace(self.trials[number], state="running", error=None)
        waiting = [trial.number for trial in self.trials if trial.state == "running"]
        if self.trials:
            print(f"{self.folder}: {len(self.trials) - len(waiting)} trials done before", flush=True)
        while True:
            for worker in sorted(set(range(self.workers)) - set(self.running)):
                trial = self.trials[waiting.pop(0)] if waiting else self._new()
                if trial is None:
                    break
                self._start(worker, trial)
            if not self.running:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self._collect()
        write_tables(self.folder, self.sweep, self.trials)

    def stop(self) -> None:
        """End what still runs; it goes on when the sweep does."""
        for running in self.running.values():
            running.stop()

    def _new(self) -> Trial | None:
        number = len(self.trials)
        if self.sweep.count is not None and number >= self.sweep.count:
            return None
        parameters = propose(self.sweep, self.trials, seed=self.seed)
        if parameters is None:
            return None
        self.trials.append(Trial(number, parameters))
        write_trials(self.folder, self.trials)
        return self.trials[number]

    def _start(self, worker: int, trial: Trial) -> None:
        own = self.folder / "trials" / f"{trial.number:03}"
        arguments = trial_arguments(self.sweep, trial.parameters, own)
        if arguments[0] in RESUMABLE and (own / RESUME_FILE).exists():
            arguments.append(f"--ckpt_path={own / RESUME_FILE}")
        environment = resources(worker, self.workers)
        self.running[worker] = start([*self.launcher, *arguments], trial.number, own, environment=environment)
        total = f"/{self.sweep.count}" if self.sweep.count is not None else ""
        print(f"trial {trial.number + 1}{total}: {short(trial.parameters)} -> {own}", flush=True)

    def _collect(self) -> None:
        for worker, running in list(self.running.items()):
            status = running.status()
            if status is None:
                continue
            del self.running[worker]
            trial = self._result(running, status)
            self.trials[trial.number] = trial
            write_trials(self.folder, self.trials)
            write_tables(self.folder, self.sweep, self.trials)
            came = f"{self.sweep.metric} {trial.metric:.4g}" if trial.metric is not None else f"failed: {trial.error}"
            print(f"trial {trial.number + 1}: {came}", flush=True)
            if _is_hopeless(self.trials):
                fix = f"see {running.log}; the same command tries again"
                raise InputError(f"the first {HOPELESS} trials failed: {trial.error}", file=self.sweep.path, fix=fix)

    def _result(self, running: Running, status: int) -> Trial:
        trial = self.trials[running.number]
        if status:
            return replace(trial, state="failed", error=running.last_line(status))
        try:
            return replace(trial, state="finished", metric=last_value(running.folder, self.sweep.metric))
        except InputError as missing:
            return replace(trial, state="failed", error=str(missing))


def _is_hopeless(trials: Sequence[Trial]) -> bool:
    return len(trials) >= HOPELESS and all(trial.state == "failed" for trial in trials[:HOPELESS])

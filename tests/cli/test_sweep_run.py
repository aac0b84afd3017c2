"""Sweeps that run: each set of parameters once, whatever kills them, and tables of what came."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli.locking import locked
from lit_mmembed.cli.sweep import runner
from lit_mmembed.cli.sweep.definition import load_sweep
from lit_mmembed.cli.sweep.proposals import propose
from lit_mmembed.cli.sweep.summary import settings
from lit_mmembed.cli.sweep.trials import Trial, read_trials, write_trials
from lit_mmembed.errors import InputError
from tests.cli import sweep_program
from tests.tiny import json_lines

PROGRAM = Path(sweep_program.__file__)
LAUNCHER = [sys.executable, str(PROGRAM), "trial"]
SIX = {"x": {"values": [1, 2, 3]}, "seed": {"values": [0, 1]}}
UNIFORM = {"x": {"min": 1.0, "max": 2.0}, "y": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1}}


def written(folder: Path, parameters: dict, method: str = "grid", **more: object) -> Path:
    """A sweep over what `sweep_program` takes."""
    content = {"method": method, "parameters": parameters, "metric": {"name": "val/score", "goal": "maximize"}, **more}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**content, "command": ["mmembed", "fit", "${args}"]}))
    return folder / "sweep.yaml"


@pytest.fixture(autouse=True)
def anything_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's parameters are not a fit's."""
    monkeypatch.setattr(runner, "refuse_wrong_arguments", lambda *_: None)


def swept(file: Path, **options: object) -> list[Trial]:
    """Run a sweep in this process; return its trials."""
    folder = runner.sweep(file, out=file.parent / "out", launcher=LAUNCHER, **options)
    return read_trials(folder)


def test_a_sweep_killed_midway_goes_on_and_no_trial_is_lost_or_run_twice(tmp_path):
    file, out = written(tmp_path, SIX), tmp_path / "out"
    command = [sys.executable, str(PROGRAM), "sweep", str(file), str(out), "2"]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    process = subprocess.Popen(command, env={**environment, "SECONDS_PER_STEP": "1"}, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (_numbers(out, "finished") and _have_begun(out, _numbers(out, "running"))):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = read_trials(out)
    assert len(before) < 6 and {trial.state for trial in before} == {"finished", "running"}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    trials = read_trials(out)
    assert [(t.parameters["seed"], t.parameters["x"]) for t in trials] == [(s, x) for s in (0, 1) for x in (1, 2, 3)]
    assert [t.metric for t in trials] == [sweep_program.STEPS * t.parameters["x"] for t in trials]
    for trial in trials:
        folder = out / f"trials/{trial.number:03}"
        was_running = trial.number in [t.number for t in before if t.state == "running"]
        starts = (folder / "starts.txt").read_text().splitlines()
        assert len(starts) == (2 if was_running else 1)
        assert starts[-1].endswith("True") == was_running, "it goes on from its resume point"
        steps = [row["step"] for row in json_lines(folder / "log.jsonl")]
        assert steps == list(range(sweep_program.STEPS)), "the killed sweep's process went on beside its successor"


def _numbers(out: Path, state: str) -> list[int]:
    return [trial.number for trial in read_trials(out) if trial.state == state]


def _have_begun(out: Path, numbers: list[int]) -> bool:
    return bool(numbers) and all((out / f"trials/{number:03}/resume.ckpt").exists() for number in numbers)


def test_a_finished_sweep_starts_nothing_again_and_grows_by_count(tmp_path):
    file = written(tmp_path, UNIFORM, method="random")
    first = swept(file, count=2)
    more = swept(file, count=4, workers=2)
    assert more[:2] == first
    assert len(more) == 4
    starts = [(tmp_path / f"out/trials/{n:03}/starts.txt").read_text().splitlines() for n in range(4)]
    assert [len(lines) for lines in starts] == [1, 1, 1, 1]


@pytest.mark.parametrize(("method", "parameters"), [("random", UNIFORM), ("grid", SIX)])
def test_proposals_depend_on_seed_and_number_alone(method, parameters, tmp_path):
    sweep = load_sweep(written(tmp_path, parameters, method=method, run_cap=6))
    whole: list[Trial] = []
    for number in range(6):
        whole.append(Trial(number, propose(sweep, whole, seed=7)))
    again = [propose(sweep, [*whole[:number]], seed=7) for number in reversed(range(6))]
    assert again[::-1] == [trial.parameters for trial in whole]
    assert len({str(parameters) for parameters in again}) == 6
    if method == "random":
        assert propose(sweep, [], seed=8) != again[-1]


def test_bayes_looks_where_the_metric_was_best(tmp_path):
    sweep = load_sweep(written(tmp_path, {"x": {"min": 0.0, "max": 1.0}}, method="bayes", run_cap=9))
    trials: list[Trial] = []
    for number in range(12):
        x = propose(sweep, trials, seed=0)["x"]
        trials.append(Trial(number, {"x": x}, "finished", metric=-((x - 0.3) ** 2)))
    assert min(abs(trial.parameters["x"] - 0.3) for trial in trials[3:]) < 0.05


def test_a_failed_trial_is_recorded_with_its_last_line_and_the_others_go_on(tmp_path):
    trials = swept(written(tmp_path, {"x": {"values": [1, -1, 2]}}))
    assert [trial.state for trial in trials] == ["finished", "failed", "finished"]
    assert trials[1].error == "the loss is not finite"
    assert "the loss is not finite" in (tmp_path / "out/summary.md").read_text()


def test_a_sweep_whose_first_three_trials_fail_ends_and_tries_them_again(tmp_path):
    file = written(tmp_path, {"x": {"values": [-1, -2, -3, 1]}})
    for attempt in (1, 2):
        with pytest.raises(InputError, match="the first 3 trials failed: the loss is not finite"):
            swept(file)
        assert len(read_trials(tmp_path / "out")) == 3
        assert len((tmp_path / "out/trials/002/starts.txt").read_text().splitlines()) == attempt


def test_a_trial_that_finished_beside_three_that_failed_is_not_run_again(tmp_path, monkeypatch):
    """Trial 3 is collected before the last of the first three."""
    file = written(tmp_path, {"x": {"values": [-1, -2, -3, 1]}})
    with pytest.raises(InputError):
        swept(file)
    [*failed] = read_trials(tmp_path / "out")
    done = Trial(3, {"x": 1}, state="finished", metric=4.0)
    write_trials(tmp_path / "out", [*failed, done])
    with pytest.raises(InputError, match="the first 3 trials failed"):
        swept(file)
    assert read_trials(tmp_path / "out")[3] == done
    assert not (tmp_path / "out/trials/003").exists()


def test_a_metric_that_no_run_logs_fails_with_the_names_that_it_has(tmp_path):
    file = written(tmp_path, {"x": {"values": [1]}})
    file.write_text(file.read_text().replace("val/score", "val/skore"))
    [trial] = swept(file)
    assert trial.state == "failed"
    assert "val/skore" in trial.error
    assert "val/score" in trial.error


def test_a_folder_of_another_sweep_is_refused(tmp_path):
    swept(written(tmp_path, {"x": {"values": [1]}}))
    with pytest.raises(InputError, match="another file or seed"):
        swept(written(tmp_path, {"x": {"values": [2]}}))


def test_a_second_sweep_in_the_same_folder_is_refused_while_the_first_runs(tmp_path):
    file = written(tmp_path, {"x": {"values": [1]}})
    with (
        locked(tmp_path / "out/lock", "another runs"),
        pytest.raises(InputError, match="another `mmembed sweep` runs"),
    ):
        swept(file)


def test_workers_share_the_processors_and_take_a_gpu_each(monkeypatch):
    from lit_mmembed.cli.sweep.processes import resources

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setenv("WANDB_RUN_ID", "the outer one")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    shares = [resources(worker, 3) for worker in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["4", "5", "4"]
    assert {share["OMP_NUM_THREADS"] for share in shares} == {"2"}
    assert "WANDB_RUN_ID" not in shares[0]
    assert resources(0, 1)["CUDA_VISIBLE_DEVICES"] == "4,5", "one worker leaves all GPUs to its trial"


def test_tables_group_by_seed_and_plots_are_drawn(tmp_path):
    parameters = {
        "x": {"values": [1, 3]},
        "y": {"values": [True]},
        "z": {"values": ["a.B"]},
        "seed": {"values": [0, 1]},
    }
    trials = swept(written(tmp_path, parameters), workers=2)
    out = tmp_path / "out"
    found = settings(load_sweep(tmp_path / "sweep.yaml"), trials)
    assert [(setting.parameters["x"], setting.mean, len(setting.values)) for setting in found] == [
        (3, 12, 2),
        (1, 4, 2),
    ]
    rows = list(csv.DictReader((out / "summary.csv").open()))
    assert [(row["x"], row["seed"], row["val/score"]) for row in rows] == [
        (str(t.parameters["x"]), str(t.parameters["seed"]), str(t.metric)) for t in trials
    ]
    page = (out / "summary.md").read_text()
    assert "| 3 | True | B | 12 | 0 | 2 |" in page
    assert "commit" in page
    assert all((out / f"{name}.png").stat().st_size for name in ("best_so_far", "metric_by_parameter"))
    assert (out / "parallel_coordinates.png").stat().st_size

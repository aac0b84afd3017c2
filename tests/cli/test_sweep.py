"""Sweep files: what W&B's agent makes of them is what `mmembed` takes; what is wrong is said before anything trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb.wandb_agent
import yaml

from lit_mmembed.cli.agent import agent_folder
from lit_mmembed.cli.stages import parse
from lit_mmembed.cli.sweep.checking import refuse_wrong_arguments
from lit_mmembed.cli.sweep.definition import SweepFile, built_command, load_sweep, trial_arguments
from lit_mmembed.cli.sweep.proposals import propose, refuse_malformed
from tests.tiny import ROOT, Ran, Tiny, done, json_lines, mmembed

FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "experiments/sweeps").glob("*.yaml"))
LR = "model.optimization.lr"
FIT = ["--config=experiments/encoders/clip_sf_tiny.yaml", "--config=experiments/emoji_beir/train.yaml"]
SWEEP = {
    "program": "mmembed",
    "method": "grid",
    "metric": {"name": "val/hit@5/mean", "goal": "maximize"},
    "parameters": {LR: {"values": [0.001, 0.002]}},
    "command": ["${env}", "${program}", "fit", *FIT, "${args}"],
}
NOTHING = "remove it"
VALUES = {"text": "a b", "off": False, "nothing": None, "small": 1e-05, "nested": {"r": 2}, "list": [1, 2]}


def agents_command(sweep: SweepFile, parameters: dict, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """The command that W&B's own agent starts for a trial."""
    started: list[list[str]] = []

    class Process:
        def __init__(self, *, command, env, forward_signals):
            started.append(command)

    monkeypatch.chdir(folder)
    for name, value in {"SWEEP_ID": "swp", "RUN_ID": "", "SWEEP_PARAM_PATH": "", "DIR": str(folder)}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setattr(wandb.wandb_agent, "AgentProcess", Process)
    agent = wandb.wandb_agent.Agent.__new__(wandb.wandb_agent.Agent)
    agent._sweep_command, agent._run_processes = list(sweep.content["command"]), {}
    agent._in_jupyter = agent._function = agent._forward_signals = None
    given = {name: {"value": value} for name, value in parameters.items()}
    agent._command_run({"run_id": "run1", "program": sweep.content["program"], "args": given})
    return started[0]


def written(folder: Path, **changes: object) -> Path:
    """A sweep file that differs from SWEEP in this."""
    content = {key: value for key, value in {**SWEEP, **changes}.items() if value is not NOTHING}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "sweep.yaml"


def refused(folder: Path, *flags: object, **changes: object) -> str:
    """The one line that a sweep is refused with, before its folder is made."""
    ran: Ran = mmembed("sweep", written(folder, **changes), "--out", folder / "out", *flags)
    assert ran.status == 2
    assert len(ran.err.splitlines()) == 1
    assert not (folder / "out/trials").exists()
    return ran.err


@pytest.mark.parametrize("file", FILES)
def test_a_shipped_sweep_is_built_as_wandbs_agent_builds_it_and_its_stage_takes_it(file, monkeypatch, tmp_path):
    sweep = load_sweep(ROOT / file)
    refuse_malformed(sweep)
    parameters = propose(sweep, [], seed=0)
    assert set(parameters) == set(sweep.content["parameters"])
    command = agents_command(sweep, parameters, monkeypatch, tmp_path)
    assert built_command(sweep, parameters, tmp_path / "own.json") == command
    monkeypatch.chdir(ROOT)
    assert command[:2] == ["/usr/bin/env", "mmembed"]
    refuse_wrong_arguments(sweep, command[2:])
    arguments = trial_arguments(sweep, parameters, tmp_path / "trial")
    assert arguments[:-1] == command[2:]
    assert arguments[-1].endswith(f"={tmp_path / 'trial'}")


@pytest.mark.parametrize("macro", ["args", "args_no_equals", "args_no_boolean_flags", "args_json", "args_json_file"])
def test_every_form_of_arguments_is_wandbs_own(macro, monkeypatch, tmp_path):
    sweep = load_sweep(written(tmp_path, command=["${env}", "${interpreter}", "-m", "lit_mmembed", f"${{{macro}}}"]))
    own = tmp_path / "own.json"
    [*before, last] = agents_command(sweep, VALUES, monkeypatch, tmp_path)
    if macro == "args_json_file":
        assert built_command(sweep, VALUES, own) == [*before, str(own)]
        assert own.read_text() == Path(last).read_text()
    else:
        assert built_command(sweep, VALUES, own) == [*before, last]


def test_the_arguments_of_a_json_file_reach_the_fit(tmp_path, from_root):
    command = ["mmembed", "fit", *FIT, "--config", "${args_json_file}"]
    sweep = load_sweep(written(tmp_path, command=command, parameters={f"{LR}x": {"values": [1]}}))
    with pytest.raises(ValueError, match="lrx"):
        refuse_wrong_arguments(sweep, trial_arguments(sweep, {f"{LR}x": 1}, tmp_path / "trial"))
    refuse_wrong_arguments(sweep, trial_arguments(sweep, {LR: 1e-05}, tmp_path / "trial"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parameters": {"model.optimization.rate": {"values": [1]}}}, "rate"),
        ({"parameters": {"model.loss.init_args.warmth": {"values": [1]}}}, "warmth"),
        ({"parameters": {LR: {"values": ["fast"]}}}, "fast"),
        ({"parameters": {}}, "no parameters"),
        ({"parameters": {LR: {"valeus": [1]}}}, "valeus"),
        ({"parameters": {LR: {"min": 0.1, "max": 0.2}}}, "cannot be searched"),
        ({"method": "guess"}, "unknown method 'guess'"),
        ({"method": "random"}, "has no end"),
        ({"metric": NOTHING}, "metric"),
        ({"metric": {"name": "val/hit@5/mean"}}, "goal"),
        ({"command": NOTHING}, "has no command"),
        ({"command": ["python", "train.py", "${args}"]}, "not mmembed"),
        ({"command": ["mmembed", "report", "${args}"]}, "report"),
        ({"command": ["mmembed", "fit", *FIT, "--folder=a", "${args}"]}, "--folder"),
        ({"command": ["mmembed", "fit", *FIT]}, "reach no program"),
        ({"command": ["mmembed", "fit", *FIT, "${arguments}"]}, "${arguments}"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3}}, "early_terminate"),
        ({"unknown_key": 1}, "unknown_key"),
    ],
)
def test_a_wrong_sweep_is_refused_in_one_line_before_anything_trains(changes, said, tmp_path, from_root):
    assert said in refused(tmp_path, **changes)


def test_a_variable_that_a_recipe_lacks_is_refused(tmp_path, from_root):
    command = ["mmembed", "run", "experiments/sweeps/recipes/hard_negatives.yaml", "${args}"]
    line = refused(tmp_path, command=command, parameters={"vars.k_prim": {"values": [1]}})
    assert "vars.k_prim" in line
    line = refused(tmp_path, command=command, parameters={"vars.encoder": {"values": ["nowhere.yaml"]}})
    assert "nowhere.yaml" in line


def test_a_variable_of_a_recipe_that_the_recipe_runs_can_be_swept(tmp_path, from_root):
    command = ["mmembed", "run", "experiments/paper/small/table6.yaml", "${args}"]
    sweep = load_sweep(written(tmp_path, command=command, parameters={"vars.mllm_steps": {"values": [7]}}))
    refuse_wrong_arguments(sweep, trial_arguments(sweep, {"vars.mllm_steps": 7}, tmp_path / "trial"))
    assert "vars.mlm_steps" in refused(tmp_path, command=command, parameters={"vars.mlm_steps": {"values": [7]}})


def test_a_variable_as_a_flag_is_the_same_as_set():
    flags = parse(["run", "--vars.a=1", "story.yaml", "--set", "vars.b=2", "--vars.c=[x, y]"])
    assert flags.recipe == Path("story.yaml")
    assert flags.set == ["vars.b=2", "vars.a=1", "vars.c=[x, y]"]


def test_a_trial_of_wandbs_agent_has_a_folder_and_a_wandb_run_of_its_own(tiny: Tiny, tmp_path, monkeypatch, from_root):
    """The agent names neither in the command: both come from its environment."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    monkeypatch.setenv("WANDB_RUN_ID", "run00001")
    assert parse(["run", "recipe.yaml"]).out == agent_folder("runs") == Path("runs/sweeps/swp1/run00001")
    monkeypatch.setattr("lit_mmembed.cli.agent.SWEEPS", tmp_path)
    folder = tmp_path / "swp1/run00001"
    flags = tiny.fit(folder, "-c", str(ROOT / "experiments/wandb.yaml"), trainer__max_steps=2)
    done(*(flag for flag in flags if not flag.startswith("--folder")))
    assert json_lines(folder / "log.jsonl")[-1]["step"] == 1
    assert list((folder / "wandb").glob("offline-run-*-run00001"))


def test_under_the_agent_a_run_is_online_unless_wandb_mode_says_otherwise(tmp_path, monkeypatch):
    from lit_mmembed.training.wandb_run import WandbRun

    monkeypatch.setenv("WANDB_DATA_DIR", "")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    modes = [WandbRun(tmp_path)._wandb_init["mode"]]
    monkeypatch.setenv("WANDB_SWEEP_ID", "swp1")
    modes.append(WandbRun(tmp_path)._wandb_init["mode"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    modes.append(WandbRun(tmp_path)._wandb_init["mode"])
    assert modes == ["offline", "online", "offline"]

"""`mmembed run RECIPE.yaml`: a story of stages, each a folder that is done once its `stage.json` is there.

A recipe:

    name: emoji_clip_sf                 the run folder: OUT/NAME
    base: other.yaml                    optional: this file says only what differs
    variant: main                       stages of each variant have a folder of their own
    vars: {steps: 400}                  ${vars.steps}
    smoke: {steps: 20}                  what --smoke changes in vars
    labels: {encoder: CLIP_SF}          for the report; a stage may add its own
    stages:
      data: {command: shard, shared: true, arguments: {source: mbeir, root: ..., out: "${folder}/shards"}}
      rand: {command: fit, config: [a.yaml], arguments: {data.path: "${stage:data}/shards"}}

A stage with `each` is several, one for each combination of words: repeating.py.

`${folder}` is the stage's own folder, `${stage:NAME}` that of a stage it reads, which runs before it; `${seed}` is the
seed, `${run_dir}` OUT/NAME.
A `shared` stage is run once for all seeds and variants. One with `always: true` is run every time, after the others:
the report, also in a recipe that adds stages to its base.

A stage is run again when its command, its arguments, its configuration files or a stage that it reads have changed.
Killed at any point, the same command goes on: files of finished parts are kept, `fit` resumes from its `resume.ckpt`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from lit_mmembed.cli.execution import execute
from lit_mmembed.cli.repeating import repeated
from lit_mmembed.cli.resolving import Stage, resolve
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json, write_json
from lit_mmembed.record import run_record

DONE = "stage.json"
STARTED = "started.json"


def run(
    recipe: Path, *, smoke: bool = False, seed: int = 0, out: Path = Path("runs"), changes: Sequence[str] = ()
) -> Path:
    """Run the stages of a recipe that are not done; return the run folder.

    Args:
        recipe: The recipe.
        smoke: Its small settings, in a run folder of their own.
        seed: Of everything; each seed has its own folder.
        out: Where run folders lie.
        changes: What to change in the recipe, as "vars.root=/data/M-BEIR".

    Raises:
        InputError: the recipe cannot be read or a stage fails on its input.
    """
    content = load(recipe)
    if smoke:
        content.name = f"{content.name}_smoke"
        content.vars = OmegaConf.merge(content.get("vars", {}), content.get("smoke", {}))
    content = changed(content, changes)
    stages = resolve(content, seed=seed, out=out, file=recipe)
    start = time.monotonic()
    for number, stage in enumerate(stages.values(), 1):
        title = f"[{number}/{len(stages)}] {stage.name} ({stage.command})"
        if _is_done(stage):
            _relabel(stage)
            print(f"{title}: done before", flush=True)
            continue
        print(f"{title} -> {stage.folder}", flush=True)
        began = time.monotonic()
        _run_stage(stage, seed, stages)
        print(f"{title}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"{recipe}: all {len(stages)} stages done in {time.monotonic() - start:.0f} s", flush=True)
    return out / content.name


def load(recipe: Path) -> DictConfig:
    """Read a recipe and what it is based on."""
    content: Any
    try:
        content = OmegaConf.load(recipe)
    except FileNotFoundError:
        raise InputError("does not exist", file=recipe, fix="experiments/ holds the recipes") from None
    except Exception as broken:
        raise InputError(f"is not YAML: {broken}", file=recipe, fix="correct the file") from None
    if not isinstance(content, DictConfig):
        raise InputError("is not a recipe: a mapping is expected", file=recipe, fix="see lit_mmembed/cli/recipe.py")
    content = repeated(content, recipe)
    if "base" in content:
        content = OmegaConf.merge(load(recipe.parent / content.pop("base")), content)
    for key in ("name", "stages"):
        if key not in content:
            raise InputError(f"is not a recipe: `{key}` is missing", file=recipe, fix="see lit_mmembed/cli/recipe.py")
    return content


def changed(content: DictConfig, changes: Sequence[str]) -> DictConfig:
    """Return a recipe with KEY=VALUE set; InputError where it has no such key."""
    for change in changes:
        key, equals, value = change.partition("=")
        parent, _, name = key.rpartition(".")
        where = OmegaConf.select(content, parent or key)
        if not equals or where is None or (parent == "vars" and name not in where):
            raise InputError(
                f"--set {change}: there is no {key!r} to set", fix="KEY=VALUE, as in vars.root=/data/M-BEIR"
            )
        OmegaConf.update(content, key, yaml.safe_load(value))
    return content


def _is_done(stage: Stage) -> bool:
    mark = stage.folder / DONE
    return not stage.always and mark.exists() and read_json(mark)["fingerprint"] == stage.fingerprint


def _run_stage(stage: Stage, seed: int, stages: dict[str, Stage]) -> None:
    with _folder_of(stage):
        execute(stage.command, stage.arguments, config=stage.config, folder=stage.folder, seed=seed)
    write_json(
        stage.folder / DONE,
        {
            "name": stage.name,
            "command": stage.command,
            "config": stage.config,
            "arguments": stage.arguments,
            "labels": stage.labels,
            "fingerprint": stage.fingerprint,
            "inputs": {need: stages[need].fingerprint for need in stage.needs},
            "record": run_record(seed=seed),
        },
    )


def _relabel(stage: Stage) -> None:
    """Write down what the recipe calls a finished stage now: its labels say what the report makes of it."""
    mark = stage.folder / DONE
    content = read_json(mark)
    if (content["name"], content["labels"]) != (stage.name, stage.labels):
        write_json(mark, {**content, "name": stage.name, "labels": stage.labels})


@contextmanager
def _folder_of(stage: Stage) -> Iterator[None]:
    """Keep what an interrupted run of the very same stage left, discard anything else."""
    mark = stage.folder / STARTED
    same = mark.exists() and read_json(mark) == stage.fingerprint
    if stage.folder.exists() and not same:
        shutil.rmtree(stage.folder)
    stage.folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, stage.fingerprint)
    yield

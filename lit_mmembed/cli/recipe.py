"""`mmembed run RECIPE.yaml`: a story of stages, each a folder that is done once its `stage.json` is there.

A recipe:

    name: emoji_clip_sf                 the run folder: OUT/NAME
    base: other.yaml                    optional: this file says only what differs
    only: [hard]                        optional: of the base's stages, these and what they read
    variant: main                       stages of each variant have a folder of their own
    vars: {steps: 400}                  ${vars.steps}
    smoke: {steps: 20}                  what --smoke changes in vars
    labels: {encoder: CLIP_SF}          for the report; a stage may add its own
    stages:
      data: {command: shard, shared: true, arguments: {source: mbeir, root: ..., out: "${folder}/shards"}}
      rand: {command: fit, config: [a.yaml], arguments: {data.path: "${stage:data}/shards"}}

A stage with `each` is several, one for each combination of words: repeating.py. `recipes: [OTHER.yaml]` are run first,
each into its own run folder: composing.py.

`${folder}` is the stage's own folder, `${stage:NAME}` that of a stage it reads, which runs before it; `${seed}` is the
seed, `${out}` OUT, `${run_dir}` OUT/NAME.
A `shared` stage is run once for all seeds and variants. One with `always: true` is run every time, after the others:
the report, also in a recipe that adds stages to its base.

A stage is run again when its command, its arguments, its configuration files or a stage that it reads have changed.
What another run folder in OUT has of it is taken over in place of running it: reuse.py.
Several may run at once, as one for each seed: a stage is run by one of them, the others wait for it: locking.py.
Killed at any point, the same command goes on: files of finished parts are kept, `fit` resumes from its `resume.ckpt`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_mmembed.cli.composing import recipes_of
from lit_mmembed.cli.execution import execute
from lit_mmembed.cli.loading import changed, load
from lit_mmembed.cli.locking import in_turn
from lit_mmembed.cli.resolving import Stage, resolve
from lit_mmembed.cli.reuse import DONE, STARTED, Finished
from lit_mmembed.errors import InputError
from lit_mmembed.files import PARTIAL, read_json, write_json
from lit_mmembed.record import run_record

__all__ = ["Stage", "changed", "load", "resolve", "run"]


def run(
    recipe: Path,
    *,
    smoke: bool = False,
    seed: int = 0,
    out: Path = Path("runs"),
    changes: Sequence[str] = (),
    fresh: bool = False,
) -> Path:
    """Run the stages that are not done of a recipe and of the recipes that it is made of; return its run folder.

    Args:
        recipe: The recipe.
        smoke: Its small settings, in a run folder of their own.
        seed: Of everything; each seed has its own folder.
        out: Where run folders lie.
        changes: What to change in the recipe, as "vars.root=/data/M-BEIR".
        fresh: Take over nothing from other run folders, and run again what was taken over.

    Raises:
        InputError: a recipe cannot be read or a stage fails on its input.
    """
    _refuse_many()
    recipes = recipes_of(recipe, changes, smoke=smoke)
    resolved = [resolve(content, seed=seed, out=out, file=file) for file, content in recipes]
    for (file, content), stages in zip(recipes, resolved, strict=True):
        if len(recipes) > 1:
            print(f"{file} -> {out / str(content.name)}", flush=True)
        start = time.monotonic()
        _run_stages(stages, seed, None if fresh else Finished(out))
        print(f"{file}: all {len(stages)} stages done in {time.monotonic() - start:.0f} s", flush=True)
    return out / str(recipes[-1][1].name)


def _refuse_many() -> None:
    """Refuse to be started once for each GPU: fits start their processes themselves, and stages wait for each other."""
    for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if os.environ.get(name, "1") not in ("", "1"):
            problem = f"`mmembed run` was started as one of {os.environ[name]} processes ({name})"
            fix = "start it once: fits take all GPUs of the machine; for several machines start `mmembed fit` itself"
            raise InputError(problem, fix=fix)


def _run_stages(stages: dict[str, Stage], seed: int, finished: Finished | None) -> None:
    """Run what is not done of one recipe, or take it over from the finished stages of other run folders."""
    for number, stage in enumerate(stages.values(), 1):
        title = f"[{number}/{len(stages)}] {stage.name} ({stage.command})"
        with _turn_of(stage, title):
            _run_stage(stage, title, stages, seed=seed, finished=finished)


def _run_stage(stage: Stage, title: str, stages: dict[str, Stage], *, seed: int, finished: Finished | None) -> None:
    if _is_done(stage, taken_over=finished is not None):
        _relabel(stage)
        print(f"{title}: done before", flush=True)
        return
    other = finished.take_over(stage.fingerprint, stage.folder) if finished and not stage.always else None
    if other:
        _write_mark(stage, stages, record=other.record, reused_from=other.place)
        print(f"{title}: reused from {other.place}", flush=True)
        return
    print(f"{title} -> {stage.folder}", flush=True)
    began = time.monotonic()
    with _folder_of(stage):
        execute(stage.command, stage.arguments, config=stage.config, folder=stage.folder, seed=seed)
    _write_mark(stage, stages, record=run_record(seed=seed))
    print(f"{title}: {time.monotonic() - began:.0f} s", flush=True)


@contextmanager
def _turn_of(stage: Stage, title: str) -> Iterator[None]:
    """Hold a stage's lock: other seeds run at the same time, and some stages are theirs too.

    Half copies of it that killed runs left are removed.
    """
    beside, name = stage.folder.parent, stage.folder.name
    with in_turn(
        beside / f".{name}.lock",
        lambda who: print(f"{title}: waits for {who}, or for the fit that it started", flush=True),
    ):
        for left in beside.iterdir():
            if re.fullmatch(rf"{re.escape(name)}\.\d+{re.escape(PARTIAL)}", left.name):
                shutil.rmtree(left)
        yield


def _is_done(stage: Stage, *, taken_over: bool) -> bool:
    """Say whether a stage has been run; or `taken_over` from another run folder, where that counts."""
    mark = stage.folder / DONE
    if stage.always or not mark.exists():
        return False
    content = read_json(mark)
    return content["fingerprint"] == stage.fingerprint and (taken_over or "reused_from" not in content)


def _write_mark(stage: Stage, stages: dict[str, Stage], **about: Any) -> None:
    content = {
        "name": stage.name,
        "command": stage.command,
        "config": stage.config,
        "arguments": stage.arguments,
        "labels": stage.labels,
        "fingerprint": stage.fingerprint,
        "inputs": {need: stages[need].fingerprint for need in stage.needs},
    }
    write_json(stage.folder / DONE, {**content, **about})


def _relabel(stage: Stage) -> None:
    """Write down what the recipe calls a finished stage now: its labels say what the report makes of it."""
    mark = stage.folder / DONE
    content = read_json(mark)
    labels = {**stage.labels, "seed": content["labels"].get("seed")} if stage.shared else stage.labels
    if (content["name"], content["labels"]) != (stage.name, labels):
        write_json(mark, {**content, "name": stage.name, "labels": labels})


@contextmanager
def _folder_of(stage: Stage) -> Iterator[None]:
    """Keep what an interrupted run of the very same stage left, discard anything else."""
    mark = stage.folder / STARTED
    same = mark.exists() and read_json(mark) == stage.fingerprint
    if stage.folder.exists() and not same:
        (stage.folder / DONE).unlink(missing_ok=True)  # first: another run may be taking this folder's files over
        shutil.rmtree(stage.folder)
    stage.folder.mkdir(parents=True, exist_ok=True)
    for left in list(stage.folder.rglob(f"*{PARTIAL}")):
        if re.fullmatch(rf".+\.\d+{re.escape(PARTIAL)}", left.name):  # a killed process's own: nobody goes on with it
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    write_json(mark, stage.fingerprint)
    yield

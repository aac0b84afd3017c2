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

`${folder}` is the stage's own folder, `${stage:NAME}` an earlier stage's, `${seed}` the seed, `${run_dir}` OUT/NAME.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lit_mmembed import __version__
from lit_mmembed.cli.execution import execute
from lit_mmembed.errors import InputError
from lit_mmembed.files import content_hash, file_hash, read_json, write_json
from lit_mmembed.record import run_record

DONE = "stage.json"
STARTED = "started.json"
STAGE_KEYS = {"command", "config", "arguments", "labels", "shared", "always"}


@dataclass
class Stage:
    """One resolved stage."""

    name: str
    command: str
    folder: Path
    arguments: dict[str, Any]
    config: list[str] = field(default_factory=list)
    labels: dict[str, Any] = field(default_factory=dict)
    always: bool = False
    needs: tuple[str, ...] = ()
    fingerprint: str = ""


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
        if not equals or OmegaConf.select(content, key.rpartition(".")[0] or key) is None:
            raise InputError(
                f"--set {change}: there is no {key!r} to set", fix="KEY=VALUE, as in vars.root=/data/M-BEIR"
            )
        OmegaConf.update(content, key, yaml.safe_load(value))
    return content


def resolve(content: DictConfig, *, seed: int, out: Path, file: Path) -> dict[str, Stage]:
    """Fill in folders, variables and fingerprints of every stage, in the recipe's order."""
    run_dir = out / content.name
    variant = str(content.get("variant", "main"))
    stages: dict[str, Stage] = {}
    for name in sorted(content.stages, key=lambda name: bool(content.stages[name].get("always"))):
        where = f"stage {name}"
        given = content.stages[name]
        unknown = set(given) - STAGE_KEYS
        if unknown or "command" not in given:
            raise InputError(
                f"unknown keys {sorted(unknown)}" if unknown else "`command` is missing",
                file=file,
                record=where,
                fix=f"a stage has {sorted(STAGE_KEYS)}",
            )
        scope = "shared" if given.get("shared") else f"seed{seed}/{variant}"
        folder = run_dir / scope / name
        context = {"vars": content.get("vars", {}), "seed": seed, "run_dir": str(run_dir)}
        try:
            needs, named = _resolved(given, context, {**{n: f"<{n}>" for n in stages}}, "<folder>")
            _, real = _resolved(given, context, {n: str(s.folder) for n, s in stages.items()}, str(folder))
        except (OmegaConfBaseException, KeyError) as wrong:
            fix = "a stage may name ${vars.NAME} and ${stage:NAME} of an earlier stage"
            raise InputError(f"cannot be resolved: {wrong}", file=file, record=where, fix=fix) from None
        labels = {**OmegaConf.to_container(content.get("labels", OmegaConf.create())), **real.get("labels", {})}  # type: ignore[dict-item]
        stages[name] = Stage(
            name=name,
            command=real["command"],
            folder=folder,
            arguments=real.get("arguments", {}),
            config=real.get("config", []),
            labels={**labels, "seed": seed},
            always=bool(real.get("always", False)),
            needs=needs,
            fingerprint=_fingerprint(named, seed, [stages[need].fingerprint for need in needs], file),
        )
    return stages


def _resolved(
    given: DictConfig, context: dict[str, Any], folders: dict[str, str], own: str
) -> tuple[tuple[str, ...], dict[str, Any]]:
    needs: dict[str, None] = {}

    def folder_of(name: str) -> str:
        needs[name] = None
        return folders[name]

    OmegaConf.register_resolver("stage", folder_of, replace=True)
    whole = OmegaConf.create({**context, "folder": own, "this": given})
    resolved: Any = OmegaConf.to_container(whole, resolve=True)
    return tuple(needs), resolved["this"]


def _fingerprint(stage: dict[str, Any], seed: int, inputs: list[str], file: Path) -> str:
    configs = {}
    for config in stage.get("config", []):
        if not Path(config).exists():
            raise InputError(
                f"configuration {config} does not exist", file=file, fix="paths are relative to where you are"
            )
        configs[config] = file_hash(config)
    seeded = None if stage.get("shared") else seed
    relevant = {key: stage.get(key) for key in ("command", "arguments", "config")}
    return content_hash({**relevant, "configs": configs, "seed": seeded, "inputs": inputs, "version": __version__})


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

"""From a recipe's YAML to its stages: their order, folders, variables and fingerprints."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lit_mmembed import __version__
from lit_mmembed.errors import InputError
from lit_mmembed.files import content_hash, file_hash

STAGE_NAMED = re.compile(r"\$\{stage:\s*([^}\s]+)\s*\}")
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
    shared: bool = False
    needs: tuple[str, ...] = ()
    fingerprint: str = ""


def resolve(content: DictConfig, *, seed: int, out: Path, file: Path) -> dict[str, Stage]:
    """Fill in folders, variables and fingerprints of every stage, in the recipe's order."""
    run_dir = out / str(content.name)
    variant = str(content.get("variant", "main"))
    stages: dict[str, Stage] = {}
    for name in _ordered(content, file):
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
        context = {"vars": content.get("vars", {}), "seed": seed, "out": str(out), "run_dir": str(run_dir)}
        try:
            needs, named = _resolved(given, context, {**{n: f"<{n}>" for n in stages}}, "<folder>")
            _, real = _resolved(given, context, {n: str(s.folder) for n, s in stages.items()}, str(folder))
        except (OmegaConfBaseException, KeyError) as wrong:
            fix = "a stage may name ${vars.NAME} and ${stage:NAME} of another stage"
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
            shared=bool(real.get("shared", False)),
            needs=needs,
            fingerprint=_fingerprint(named, seed, [stages[need].fingerprint for need in needs], file),
        )
    return stages


def _ordered(content: DictConfig, file: Path) -> list[str]:
    """The stages in the file's order, but each after those that it reads, and what always runs at the end."""
    reads = {name: STAGE_NAMED.findall(OmegaConf.to_yaml(given)) for name, given in content.stages.items()}
    order: dict[str, None] = {}

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " reads ".join((*above[above.index(name) :], name))
            raise InputError("stages read each other", file=file, record=circle, fix="remove one of the references")
        for needed in reads[name]:
            if needed in reads and needed not in order:
                add(needed, (*above, name))
        order[name] = None

    for name in sorted(reads, key=lambda name: bool(content.stages[name].get("always"))):
        add(str(name), ())
    return list(order)


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

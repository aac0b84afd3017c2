"""From the YAMLs of a fit to what a plan calculates with."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.errors import InputError
from lit_mmembed.training.devices import device
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.training.planned_fit import Fit, Machine, Settings
from lit_mmembed.training.workload import Workload, limited, mbeir, mixed, of_directory

Config = dict[str, Any]
Where = Callable[[str | Path], Path]
MANIFEST = "manifest.json"
"""Where it lies, there is a data directory."""


def merged_config(files: list[str], changes: Mapping[str, Any]) -> Config:
    """Merge YAMLs as LightningCLI does: later files and changes win, and another class forgets the arguments.

    Args:
        files: Configurations of a fit.
        changes: {dotted key: value}.

    Raises:
        InputError: a file is missing or no YAML mapping.
    """
    config: Config = {}
    for file in files:
        config = _merge(config, _read(file))
    for key, value in changes.items():
        *parents, last = key.split(".")
        nested: Any = {last: value}
        for parent in reversed(parents):
            nested = {parent: nested}
        config = _merge(config, nested)
    return config


def fit_of(
    config: Config,
    flags: argparse.Namespace,
    directory: Path | None,
    tasks: Sequence[str] = (),
    *,
    there: Where = Path,
) -> Fit:
    """Return a fit, or what embeds.

    Args:
        config: The merged configuration.
        flags: GPU, how many of them, and the share of their peak.
        directory: The data directory to count; None: M-BEIR as published.
        tasks: Only these rows of M-BEIR.
        there: Where a path of the configuration is found now.

    Raises:
        InputError: no encoder, or one whose shapes are not known.
    """
    model, data, trainer = (config.get(key) or {} for key in ("model", "data", "trainer"))
    if not model.get("encoder"):
        raise InputError("the configuration has no model.encoder", fix="add -c experiments/encoders/....yaml")
    settings = Settings(
        batch_size=int(data.get("batch_size", 128)),
        negatives=1 if data.get("negatives") else 0,
        chunk_tokens=model.get("chunk_tokens"),
        epochs=_limit(trainer.get("max_epochs")),
        steps=_limit(trainer.get("max_steps")),
        precision=str(trainer.get("precision", "32-true")),
        strategy=_strategy(trainer.get("strategy")),
        encode_rows=int(data.get("encode_rows", 256)),
        encode_tokens=data.get("encode_tokens"),
    )
    machine = machine_of(flags, trainer.get("devices"))
    return Fit(planned_encoder(model["encoder"]), _workload(data, directory, tasks, there), settings, machine)


def machine_of(flags: argparse.Namespace, devices: Any = None) -> Machine:
    """Return where it runs: as many GPUs as the flags say, else as many as `trainer.devices`, else one."""
    gpus = flags.gpus or (devices if isinstance(devices, int) and devices > 0 else 1)
    return Machine(device(flags.gpu), gpus, flags.mfu)


def _limit(given: Any) -> Any:
    """Return an end of training; Lightning writes -1 for none."""
    return given if given is not None and given >= 0 else None


def _workload(data: Config, folder: Path | None, tasks: Sequence[str], there: Where) -> Workload:
    asked = str(data.get("prompts", "first")) != "none"
    workload = of_directory(folder, instructions=asked) if folder else mbeir(instructions=asked, tasks=tasks)
    return _mixture(workload, data, there) if data.get("mixture") else workload


def _mixture(workload: Workload, data: Config, there: Where) -> Workload:
    """Return what a mixture trains on; where a source is not there yet, as if all were of data.path."""
    from lit_mmembed.data.mixture import MixedSource, Mixture, shares

    given = data["mixture"]
    try:
        listed = [MixedSource(**{**source, "path": there(source["path"])}) for source in given.get("sources") or ()]
        mixture = Mixture(**{**given, "sources": listed})
    except (KeyError, TypeError) as wrong:
        raise InputError(f"data.mixture: {wrong}", fix="see `mmembed fit --help`") from None
    for source in listed:
        if not (source.path / MANIFEST).exists():
            assumed = f"a step is as if all of it were of data.path: data.mixture's {source.path} is not there yet"
            return dataclasses.replace(workload, assumptions=(*workload.assumptions, assumed))
    parts = [limited(workload, mixture.query_length, mixture.candidate_length)]
    for source in listed:
        asked = str(source.prompts or data.get("prompts", "first")) != "none"
        part = of_directory(source.path, instructions=asked)
        parts.append(limited(part, source.query_length, source.candidate_length))
    share = shares(mixture, [round(part.epoch) for part in parts]).tolist()
    told = ", ".join(f"{one:.0%} of {source.path}" for one, source in zip(share[1:], listed, strict=True))
    whole = mixed(parts, share)
    return dataclasses.replace(whole, assumptions=(*whole.assumptions, f"training draws {told}"))


def _strategy(given: Any) -> str:
    """Return a strategy's short name, also of one that is written as a class with a stage."""
    if not isinstance(given, dict):
        return str(given or "auto")
    arguments = given.get("init_args") or {}
    name = str(given.get("class_path", "")).rpartition(".")[2]
    if name == "DeepSpeedStrategy":
        return f"deepspeed_stage_{arguments.get('stage', 2)}"
    return "fsdp" if name in ("FSDPStrategy", "ModelParallelStrategy", "Fsdp2") else name


def change_of(text: str) -> tuple[str, Any]:
    """Split KEY=VALUE; InputError where there is no value."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: no value", fix="KEY=VALUE, as in data.batch_size=512")
    return key, yaml.safe_load(value)


def _read(file: str) -> Config:
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("does not exist", file=file, fix="paths are relative to where you are") from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise InputError(f"is not YAML: {broken}", file=file, fix="correct the file") from None
    if not isinstance(content, dict):
        raise InputError("is not a configuration: a mapping is expected", file=file, fix="see experiments/")
    return content


def _merge(old: Config, new: Mapping[str, Any]) -> Config:
    merged = dict(old)
    for key, value in new.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, Mapping):
            other = "class_path" in value and value["class_path"] != known.get("class_path")
            merged[key] = dict(value) if other else _merge(known, value)
        elif key.endswith("+") and isinstance(known, list) and isinstance(value, list):
            merged[key] = [*known, *value]
        else:
            merged[key] = value
    return merged

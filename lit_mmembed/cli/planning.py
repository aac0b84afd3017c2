"""`mmembed plan`: reads fit YAMLs or a recipe, plans each fit and embedding, prints it, builds nothing."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.errors import InputError
from lit_mmembed.files import write_json
from lit_mmembed.training.devices import GIB, device
from lit_mmembed.training.plan_summary import fit_summary, predict_summary
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.training.planned_fit import Fit, Machine, Settings
from lit_mmembed.training.workload import Workload, mbeir, of_directory

SUMMARIES = {"fit": fit_summary, "predict": predict_summary}
Config = dict[str, Any]


def plan(flags: argparse.Namespace) -> None:
    """Plan what the flags name."""
    plans = {}
    for name, command, config in _experiments(flags):
        try:
            plans[name] = SUMMARIES[command](_fit(config, flags))
        except InputError as unknown:
            if not flags.recipe:
                raise
            print(f"{name}: not planned: {unknown}")  # its checkpoint may be an earlier stage's work
            continue
        print("\n".join(lines(name, plans[name])), flush=True)
    if flags.json:
        write_json(flags.json, plans)


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


def lines(name: str, plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield a plan as text."""
    machine = plan["machine"]
    yield f"{name}"
    yield (
        f"  machine      {machine['gpus']} x {machine['gpu']}: {machine['memory'] / GIB:.0f} GiB and "
        f"{machine['peak_flops'] / 1e12:.0f} TFLOP/s each, {machine['mfu']:.0%} of it reached"
    )
    counts = dict(plan["parameters"])
    total, trained, share = (counts.pop(key) for key in ("total", "trainable", "share"))
    parts = ", ".join(f"{part} {_count(size)}" for part, size in counts.items())
    yield f"  parameters   {parts}; total {_count(total)}"
    yield f"  trained      {_count(trained)}, {share:.2%}"
    yield from _step_lines(plan) if "step" in plan else ()
    yield from _memory_lines(plan)
    yield from _time_lines(plan)
    yield from (f"  assumed      {text}" for text in plan["assumptions"])
    yield from (f"  WARNING      {text}" for text in plan["warnings"])


def _step_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    step, flops = plan["step"], plan["flops"]
    yield (
        f"  step         {step['queries']:,} queries, {step['rows']:,.0f} rows, {step['images']:,.0f} images, "
        f"{_count(step['tokens'])} tokens, of them {_count(step['image_tokens'])} of images"
    )
    yield (
        f"  FLOPs        {flops['executed']:.2e} executed a step; forward {flops['forward']:.2e}, backward "
        f"{flops['backward']:.2e}"
    )


def _memory_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    held, machine = dict(plan["memory"]), plan["machine"]
    total = held.pop("total")
    yield f"  memory       {total / GIB:.1f} GiB of {machine['usable'] / GIB:.1f} GiB usable on each GPU:"
    yield "               " + ", ".join(f"{what} {_bytes(size)}" for what, size in held.items() if size)
    if "activations" in plan:
        step = plan["step"]
        chunk = "a plain step" if step["chunk_tokens"] is None else f"a chunk of {step['chunk_tokens']:,} tokens"
        kept = ", ".join(f"{_bytes(size)} {how}" for how, size in plan["activations"].items())
        yield f"               activations of {chunk}: {kept}"
    pool = plan["pool"]
    yield (
        f"  index        {pool['documents']:,.0f} documents x {pool['dimension']:,}: {_bytes(pool['fp16'])} in fp16, "
        f"{_bytes(pool['fp32'])} in fp32"
    )


def _time_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    time = plan["time"]
    pool = f"embedding the pool: {_hours(time['pool_hours'])}"
    if "run_hours" not in time:
        yield f"  time         {pool}"
        return
    run = f"{time['seconds_per_step']:.3g} s a step, {time['steps']:,} steps: {_hours(time['run_hours'])}"
    yield f"  time         {run}; {pool}"


def _experiments(flags: argparse.Namespace) -> Iterator[tuple[str, str, Config]]:
    """Yield (name, fit or predict, configuration) of what is planned."""
    if bool(flags.recipe) == bool(flags.config):
        raise InputError("plan takes a recipe, or the YAMLs of one fit", fix="RECIPE.yaml, or -c A.yaml -c B.yaml")
    if flags.config:
        changes = dict(_change(text) for text in flags.set)
        yield " + ".join(flags.config), "fit", merged_config(flags.config, changes)
        return
    from lit_mmembed.cli.recipe import changed, load, resolve

    stages = resolve(changed(load(flags.recipe), flags.set), seed=0, out=Path("runs"), file=flags.recipe)
    for name, stage in stages.items():
        if stage.command in SUMMARIES:
            yield f"{name} ({stage.command})", stage.command, merged_config(stage.config, stage.arguments)


def _fit(config: Config, flags: argparse.Namespace) -> Fit:
    model, data, trainer = (config.get(key) or {} for key in ("model", "data", "trainer"))
    if not model.get("encoder"):
        raise InputError("the configuration has no model.encoder", fix="add -c experiments/encoders/....yaml")
    devices = trainer.get("devices")
    gpus = flags.gpus or (devices if isinstance(devices, int) and devices > 0 else 1)
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
    machine = Machine(device(flags.gpu), gpus, flags.mfu)
    return Fit(planned_encoder(model["encoder"]), _workload(data, flags.data), settings, machine)


def _limit(given: Any) -> Any:
    """Return an end of training; Lightning writes -1 for none."""
    return given if (given or -1) > 0 else None


def _workload(data: Config, folder: Path | None) -> Workload:
    instructions = str(data.get("prompts", "first")) != "none"
    workload = of_directory(folder, instructions=instructions) if folder else mbeir(instructions=instructions)
    if data.get("mixture"):
        assumed = "a step is as if all of it were of data.path: further sources of data.mixture are not counted"
        return dataclasses.replace(workload, assumptions=(*workload.assumptions, assumed))
    return workload


def _strategy(given: Any) -> str:
    """Return a strategy's short name, also of one that is written as a class with a stage."""
    if not isinstance(given, dict):
        return str(given or "auto")
    arguments = given.get("init_args") or {}
    name = str(given.get("class_path", "")).rpartition(".")[2]
    if name == "DeepSpeedStrategy":
        return f"deepspeed_stage_{arguments.get('stage', 2)}"
    return "fsdp" if name in ("FSDPStrategy", "ModelParallelStrategy") else name


def _change(text: str) -> tuple[str, Any]:
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
        else:
            merged[key] = value
    return merged


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def _bytes(number: float) -> str:
    return f"{number / GIB:.1f} GiB" if number >= GIB / 10 else f"{number / (1 << 20):.0f} MiB"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"

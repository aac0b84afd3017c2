"""In what the compared systems differ: the resolved configurations of their trainings, and how they were evaluated."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.evaluation.comparison.runs import Evaluated
from lit_mmembed.evaluation.comparison.systems import Contender
from lit_mmembed.evaluation.report.collect import SEED_FOLDER
from lit_mmembed.evaluation.report.provenance import SHORT
from lit_mmembed.evaluation.report.table import NONE
from lit_mmembed.files import read_json

RECORD_FILE, ENCODER_FILE = "record.json", "encoder.json"
LONGEST = 240
PLACES = ("folder", "seed_everything")
"""Settings that every run has for itself."""
RECORDED = ("prompts", "steps", "data_hash", "negatives_hash", "commit", "versions")
ARGUMENTS_LEFT_OUT = ("data", "model", "stores", "out")


class Setting(NamedTuple):
    """A setting that is not the same everywhere."""

    key: str
    """Dotted, below `training` or `evaluation`."""
    values: tuple[str, ...]
    """One a system; several seeds that do not agree stand beside each other."""


def differing_settings(contenders: Sequence[Contender]) -> list[Setting]:
    """Compare all settings, key by key; paths inside of a run folder count as equal whatever run and seed it is."""
    trees = [[_settings(evaluation) for evaluation in contender.evaluations] for contender in contenders]
    return _compared("", trees)


def without_configuration(contenders: Sequence[Contender]) -> list[str]:
    """Systems whose model folder, which holds the configuration, is not there."""
    return [c.name for c in contenders if not all(_model_record(evaluation) for evaluation in c.evaluations)]


def _settings(evaluation: Evaluated) -> dict[str, Any]:
    recorded = evaluation.record.get("training") or {}
    trained = _model_record(evaluation) or {}
    training = {name: recorded[name] for name in RECORDED if name in recorded}
    training |= {name: str(training[name])[:SHORT] for name in training if name.endswith("hash") and training[name]}
    config = dict(trained.get("config") or {})
    written_in = str(config.get("folder", ""))
    if config:
        settings = {name: value for name, value in config.items() if name not in PLACES}
        training["config"] = _portable(settings, written_in)
    arguments = {n: v for n, v in evaluation.stage.arguments.items() if n not in ARGUMENTS_LEFT_OUT}
    kept = {
        name: evaluation.record[name] for name in ("prompts", "index", "depth", "versions") if name in evaluation.record
    }
    return {"training": training, "evaluation": {**kept, **arguments}}


def _model_record(evaluation: Evaluated) -> Mapping[str, Any] | None:
    """What the model folder says of its training: the one evaluated, or RUN/model beside RUN/test with its weights."""
    named = evaluation.stage.arguments.get("model")
    model = evaluation.run.locate(str(named)) if named else evaluation.folder.parent / "model"
    if not (model / RECORD_FILE).exists() or not (named or _has_weights(model, evaluation)):
        return None
    return read_json(model / RECORD_FILE)


def _has_weights(model: Path, evaluation: Evaluated) -> bool:
    encoder, recorded = model / ENCODER_FILE, evaluation.record.get("weights_hash")
    return encoder.exists() and recorded is not None and read_json(encoder).get("weights_hash") == recorded


def _portable(tree: Any, folder: str) -> Any:
    """The tree with the run's own folder, its run folder and its seed's folder written as such in every path."""
    parts = Path(folder).parts
    place = next((place for place, part in enumerate(parts) if SEED_FOLDER.fullmatch(part)), None)
    words = [(folder, "${folder}")] if folder else []
    if place is not None:
        run_dir = Path(*parts[:place])
        words += [(str(run_dir / parts[place]), "${run_dir}/seed${seed}"), (str(run_dir), "${run_dir}")]
    text = json.dumps(tree)
    for written, word in words:
        text = text.replace(json.dumps(written)[1:-1], word)
    return json.loads(text)


def _compared(key: str, trees: Sequence[Sequence[Any]]) -> list[Setting]:
    """Go down where every system has a mapping; else compare what is there as text."""
    values = [value for seeds in trees for value in seeds]
    if all(isinstance(value, Mapping) for value in values):
        names = dict.fromkeys(name for value in values for name in value)
        found = []
        for name in names:
            below = [[value.get(name) for value in seeds] for seeds in trees]
            found += _compared(f"{key}.{name}".removeprefix(".").removeprefix("training.config."), below)
        return found
    texts = tuple(" / ".join(dict.fromkeys(_text(value) for value in seeds)) for seeds in trees)
    return [Setting(key, texts)] if len(set(texts)) > 1 else []


def _text(value: Any) -> str:
    text = _short(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _short(value: Any) -> str:
    """A value as a person would write it: `MineNegatives(depth: 50)` for a class with its arguments."""
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        given = value.get("init_args") if "class_path" in value else value
        words = ", ".join(f"{name}: {_short(item)}" for name, item in (given or {}).items() if item is not None)
        if "class_path" in value:
            return f"{str(value['class_path']).rpartition('.')[2]}({words})"
        return f"{{{words}}}"
    if isinstance(value, list):
        return f"[{', '.join(_short(item) for item in value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)

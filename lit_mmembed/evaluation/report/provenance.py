"""What produced the numbers: code, versions, data, prompts and seeds, and the commands that make them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lit_mmembed.evaluation.report.collect import Evaluation, Run, Stage
from lit_mmembed.evaluation.report.table import Cell, Head, Line, Table
from lit_mmembed.evaluation.report.tables import column_label

CONFIG_FILE = "config.yaml"
SHORT = 12
LIGHTNING = ("fit", "pretrain", "fit-reranker", "validate", "test", "predict")
"""Commands of LightningCLI; the others are stages."""
POSITIONAL = ("run_dir", "systems")


class Config(NamedTuple):
    """A training's resolved configuration."""

    title: str
    text: str


@dataclass(frozen=True)
class Provenance:
    """What made the numbers."""

    facts: Sequence[tuple[str, str]]
    evaluations: Table
    commands: str
    configs: Sequence[Config]


def provenance_of(run: Run) -> Provenance:
    """Gather the run records of all stages and results."""
    stages = sorted(run.stages, key=lambda stage: (stage.seed, stage.variant, _depth(stage, run.stages), stage.place))
    made_in = _recorded_folder(run)
    lines = [shlex.join(command_of(stage, made_in)) for stage in stages if stage.command != "report"]
    configs = [
        Config(stage.place, (stage.folder / CONFIG_FILE).read_text(encoding="utf-8"))
        for stage in run.stages
        if (stage.folder / CONFIG_FILE).exists()
    ]
    return Provenance(facts_of(run), _evaluations(run), "\n".join(dict.fromkeys(lines)), configs)


def command_of(stage: Stage, made_in: str) -> list[str]:
    """The command line of a stage, as a recipe runs it into the run folder `made_in`."""
    words = ["mmembed", stage.command]
    if stage.command in LIGHTNING:
        for file in stage.config:
            words += ["-c", str(file)]
        words += [f"--seed_everything={stage.seed}", f"--folder={made_in}/{stage.place}"]
        given = stage.arguments.items()
        return words + [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in given]
    words += [str(item) for name in POSITIONAL for item in _listed(stage.arguments.get(name, []))]
    for name, value in stage.arguments.items():
        if value is None or value is False or name in POSITIONAL:
            continue
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else [str(item) for item in _listed(value)]
    return words


def record_of(evaluation: Evaluation) -> dict[str, object]:
    """The run record of a result: every score of a file has the same."""
    return dict(evaluation.scores[0].record) if evaluation.scores else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def facts_of(run: Run) -> list[tuple[str, str]]:
    """Commit, data, prompts, seeds and versions, as far as stages and results say them."""
    records = [record_of(evaluation) for evaluation in run.everything]
    versions: dict[str, list[str]] = {}
    for record in [*(dict(stage.record) for stage in run.stages), *records]:
        found = record.get("versions")
        for name, version in found.items() if isinstance(found, dict) else ():
            versions.setdefault(name, []).append(str(version))
    facts = [
        ("commit", _distinct([stage.record.get("commit") for stage in run.stages])),
        ("data hash", _distinct([record.get("data_hash") for record in records])),
        ("prompt policy", _distinct([record.get("prompts") for record in records])),
        ("seeds", _distinct(sorted({evaluation.seed for evaluation in run.evaluations}))),
        ("bootstrap resamples", _distinct([_setting(record, "bootstrap") for record in records])),
        ("judged queries missing from a run", _distinct([_setting(record, "missing_queries") for record in records])),
        ("versions", ", ".join(f"{name} {_distinct(found)}" for name, found in sorted(versions.items()))),
    ]
    return [(name, value) for name, value in facts if value]


def _setting(record: dict[str, object], name: str) -> object:
    settings = record.get("evaluation")
    return settings.get(name) if isinstance(settings, dict) else None


def _distinct(values: Sequence[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _evaluations(run: Run) -> Table:
    lines = []
    for evaluation in run.everything:
        record = record_of(evaluation)
        head = column_label(run.systems, evaluation.system)
        short = [str(record.get(name, ""))[:SHORT] for name in ("prompts", "weights_hash", "run_hash", "data_hash")]
        reranker = (
            f", {evaluation.stage.split}, reranker {evaluation.stage.reranker}" if evaluation.stage.reranker else ""
        )
        detail = f"{head.group}, seed {evaluation.seed}{reranker}"
        lines.append(Line(head.label, detail, [Cell(value) for value in short]))
    heads = [Head("", name) for name in ("prompts", "weights hash", "run hash", "data hash")]
    return Table("Results and what they were made from", heads, lines)


def _recorded_folder(run: Run) -> str:
    """Where the run folder was when the stages were made, as their arguments say."""
    for stage in run.stages:
        out = str(stage.arguments.get("out", ""))
        if f"/{stage.place}" in out:
            return out[: out.index(f"/{stage.place}")]
    return run.name


def _depth(stage: Stage, stages: Sequence[Stage]) -> int:
    """How many stages come before this one: the order in which a recipe runs them."""
    named = {
        other.name: other for other in stages if other.variant in ("", stage.variant) and other.seed in (0, stage.seed)
    }
    before: set[str] = set()
    waiting = list(stage.inputs)
    while waiting:
        name = waiting.pop()
        if name in named and name not in before:
            before.add(name)
            waiting += named[name].inputs
    return len(before)

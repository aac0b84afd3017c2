"""One finished stage of a run folder, and the system that its labels name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

STAGE_FILE = "stage.json"
STARTED_FILE = "started.json"
SCORES_FILE = "scores.jsonl"
SHARED = "shared"
SEED_FOLDER = re.compile(r"seed(\d+)")
MAIN, TEXTS, CIRCO, RERANKED = "main", "texts", "circo", "reranked"
"""Kinds of evaluations, by their labels: of the run's own benchmark, `set: texts`, `set: circo`, `reranker: ...`."""
NOT_RERANKED = "none"
"""The label `reranker` of the ranking that was reranked."""
MODELS = ("M_rand", "control", "M_hard")
ORDER = ("zero-shot", *MODELS, "joint", "continual")
INSTRUCTIONS = ("with", "without")


class System(NamedTuple):
    """What a column of a table is about: a model, whatever its seed."""

    model: str
    encoder: str
    instructions: str
    variant: str
    """The recipe's variant: part of the stage folder's path."""


@dataclass(frozen=True)
class Stage:
    """One finished stage, as its `stage.json` says."""

    folder: Path
    place: str
    """The folder's path inside the run folder."""
    name: str
    command: str
    arguments: Mapping[str, Any]
    config: Sequence[str]
    labels: Mapping[str, Any]
    record: Mapping[str, Any]
    inputs: Sequence[str] = ()
    """Names of the stages that it reads."""

    @property
    def variant(self) -> str:
        """The recipe's variant, empty for a shared stage."""
        return "/".join(self.place.split("/")[1:-1])

    @property
    def seed(self) -> int:
        """The seed of the folder, else the one the labels name."""
        found = SEED_FOLDER.fullmatch(self.place.split("/")[0])
        return int(found[1]) if found else int(self.labels.get("seed", 0))

    @property
    def kind(self) -> str:
        """What sort of evaluation it is: MAIN, TEXTS, CIRCO or RERANKED."""
        of_set = self.labels.get("set")
        return str(of_set) if of_set in (TEXTS, CIRCO) else RERANKED if self.reranker else MAIN

    @property
    def reranker(self) -> str:
        """The label `reranker`; empty for an evaluation outside a reranking study."""
        return str(self.labels.get("reranker") or "")

    @property
    def split(self) -> str:
        """The split that was evaluated on, if the stage says one."""
        return str(self.labels.get("split") or self.arguments.get("split") or "")

    @property
    def is_reported(self) -> bool:
        """Whether it is an evaluation that the tables show; the label `in_report: false` leaves it out."""
        return self.command == "evaluate" and bool(self.labels.get("in_report", True))

    @property
    def system(self) -> System:
        """The system by its labels; without a label for it, the stage's name is the model's."""
        model = str(self.labels.get("model", self.name))
        return System(
            model, str(self.labels.get("encoder", "")), str(self.labels.get("instructions", "")), self.variant
        )


def table_order(system: System) -> tuple[Any, ...]:
    """Models as ORDER has them, then others by name; with instructions before without."""
    return (
        system.encoder,
        _place(system.instructions, INSTRUCTIONS),
        system.variant,
        _place(system.model, ORDER),
    )


def _place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    """Known names first, in their order; one that begins like a known name stands beside it."""
    places = [place for place, start in enumerate(known) if name == start or name.startswith(f"{start} (")]
    return (places[0] if places else len(known)), name


def read_stage(run_dir: Path, mark: Path) -> Stage:
    """Read the `stage.json` of a stage in a run folder; InputError where it is none."""
    content = read_json(mark)
    fix = "remove this stage's folder and run the recipe again"
    if not isinstance(content, Mapping):
        raise InputError("is not a stage: a mapping is expected", file=mark, fix=fix)
    missing = [key for key in ("name", "command", "arguments", "labels") if key not in content]
    if missing:
        raise InputError(f"is not a stage: {', '.join(missing)} missing", file=mark, fix=fix)
    return Stage(
        folder=mark.parent,
        place=mark.parent.relative_to(run_dir).as_posix(),
        name=content["name"],
        command=content["command"],
        arguments=content["arguments"],
        config=content.get("config", ()),
        labels=content["labels"],
        record=content.get("record", {}),
        inputs=tuple(content.get("inputs", ())),
    )

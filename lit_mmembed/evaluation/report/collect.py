"""What a run folder holds: its finished stages, and which system and seed each evaluation and training is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.scores import read_scores
from lit_mmembed.files import read_json
from lit_mmembed.types import Score

if TYPE_CHECKING:
    from lit_mmembed.data.directory import DataDirectory

STAGE_FILE = "stage.json"
STARTED_FILE = "started.json"
SCORES_FILE = "scores.jsonl"
SHARED = "shared"
SEED_FOLDER = re.compile(r"seed(\d+)")
TEXTS = "texts"
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
    def is_of_texts(self) -> bool:
        """Whether it is an evaluation on text-to-text sets beside the run's own benchmark: the label `set: texts`."""
        return self.labels.get("set") == TEXTS

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


@dataclass(frozen=True)
class Evaluation:
    """The numbers of one system and one seed."""

    stage: Stage
    system: System
    seed: int
    scores: tuple[Score, ...]

    @cached_property
    def by_name(self) -> dict[tuple[str, str, int | None, str], Score]:
        """Scores by (pool, metric, k, task); the headline's cut-off is the task's own, and its k here None."""
        return {(s.pool, s.metric, None if s.metric == "headline" else s.k, s.task): s for s in self.scores}


@dataclass(frozen=True)
class Run:
    """A run folder, read."""

    folder: Path
    stages: tuple[Stage, ...]
    evaluations: tuple[Evaluation, ...]
    unfinished: tuple[str, ...]
    """Places of stages that were begun and have no `stage.json`."""
    texts: tuple[Evaluation, ...] = ()
    """Evaluations on text-to-text sets, where there are others too."""

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    @property
    def systems(self) -> tuple[System, ...]:
        """The systems evaluated, in the order of the tables."""
        return tuple(sorted({evaluation.system for evaluation in self.evaluations}, key=table_order))

    def of_command(self, *commands: str) -> list[Stage]:
        """The stages of these commands, in the order of their systems and seeds."""
        return [stage for stage in self.stages if stage.command in commands]

    def locate(self, recorded: str) -> Path:
        """Find a path that a stage was given, also when the run folder has been moved since."""
        parts = Path(recorded).parts
        for place, part in enumerate(parts):
            if part == SHARED or SEED_FOLDER.fullmatch(part):
                inside = self.folder.joinpath(*parts[place:])
                if inside.exists():
                    return inside
        return Path(recorded)

    def data_of(self, evaluation: Evaluation) -> DataDirectory | None:
        """The data directory that was evaluated on, or None where it is no longer there."""
        from lit_mmembed.data.directory import DataDirectory

        recorded = evaluation.stage.arguments.get("data")
        if not recorded:
            return None
        path = self.locate(str(recorded))
        return DataDirectory(path, on_bad_sample="skip") if (path / "manifest.json").exists() else None


def collect(run_dir: Path, *, without: Path | None = None) -> Run:
    """Read the stages of a run folder.

    Args:
        run_dir: What `mmembed run` has made: shared/STAGE and seedN/VARIANT/STAGE.
        without: The report's own folder, which does not count as unfinished.

    Raises:
        InputError: no such folder, a broken `stage.json`, or no evaluation in it.
    """
    if not run_dir.is_dir():
        raise InputError("is not a folder", file=run_dir, fix="name a run folder that `mmembed run` has made")
    marks = [*run_dir.glob(f"{SHARED}/*/{STAGE_FILE}"), *run_dir.glob(f"seed*/*/*/{STAGE_FILE}")]
    stages = sorted((read_stage(run_dir, mark) for mark in marks), key=_stage_order)
    evaluated = [stage for stage in stages if stage.is_reported and (stage.folder / SCORES_FILE).exists()]
    if not evaluated:
        raise InputError(
            f"holds no finished evaluate stage (no STAGE/{STAGE_FILE} with {SCORES_FILE} beside it)",
            file=run_dir,
            fix="run the recipe first: `mmembed run RECIPE.yaml`",
        )
    texts = [stage for stage in evaluated if stage.is_of_texts]
    if len(texts) == len(evaluated):
        texts = []
    main = [stage for stage in evaluated if stage not in texts]
    unfinished = _unfinished(run_dir, without)
    return Run(run_dir, tuple(stages), tuple(_evaluations(main)), unfinished, tuple(_evaluations(texts)))


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


def _stage_order(stage: Stage) -> tuple[Any, ...]:
    return (table_order(stage.system), stage.seed, stage.place)


def _evaluations(stages: Sequence[Stage]) -> list[Evaluation]:
    """Two stages of one system and seed are told apart by their stage's name."""
    times = Counter((stage.system, stage.seed) for stage in stages)
    found = []
    for stage in stages:
        system = stage.system
        if times[system, stage.seed] > 1:
            system = system._replace(model=f"{system.model} ({stage.name})")
        found.append(Evaluation(stage, system, stage.seed, tuple(read_scores(stage.folder / SCORES_FILE))))
    return found


def _unfinished(run_dir: Path, without: Path | None) -> tuple[str, ...]:
    marks = [*run_dir.glob(f"{SHARED}/*/{STARTED_FILE}"), *run_dir.glob(f"seed*/*/*/{STARTED_FILE}")]
    own = None if without is None else without.resolve()
    folders = [mark.parent for mark in marks if not (mark.parent / STAGE_FILE).exists()]
    return tuple(sorted(folder.relative_to(run_dir).as_posix() for folder in folders if folder.resolve() != own))

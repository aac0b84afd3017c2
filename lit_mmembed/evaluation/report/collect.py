"""What a run folder holds: its finished stages, and which system and seed each evaluation and training is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.stage import (
    CIRCO,
    MAIN,
    NOT_RERANKED,
    RERANKED,
    SCORES_FILE,
    SEED_FOLDER,
    SHARED,
    STAGE_FILE,
    STARTED_FILE,
    TEXTS,
    Stage,
    System,
    read_stage,
    table_order,
)
from lit_mmembed.evaluation.scores import read_scores
from lit_mmembed.types import Score

if TYPE_CHECKING:
    from lit_mmembed.data.directory import DataDirectory


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
    circo: tuple[Evaluation, ...] = ()
    """Evaluations by CIRCO's protocol, where there are others too; of retrieval and reranked."""
    reranked: tuple[Evaluation, ...] = ()
    """The reranking study: evaluations of reranked rankings, and of what was reranked."""

    @property
    def everything(self) -> tuple[Evaluation, ...]:
        """All evaluations, each once."""
        kinds = (*self.evaluations, *self.texts, *self.circo, *self.reranked)
        return tuple({evaluation.stage.place: evaluation for evaluation in kinds}.values())

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
    kinds = {kind: [stage for stage in evaluated if stage.kind == kind] for kind in (MAIN, TEXTS, CIRCO, RERANKED)}
    main = kinds[MAIN] or _in_their_place(kinds)
    beside = {kind: tuple(_evaluations(stages)) for kind, stages in kinds.items() if stages is not main}
    others = (beside.get(TEXTS, ()), beside.get(CIRCO, ()), beside.get(RERANKED, ()))
    return Run(run_dir, tuple(stages), tuple(_evaluations(main)), _unfinished(run_dir, without), *others)


def _in_their_place(kinds: dict[str, list[Stage]]) -> list[Stage]:
    """What the tables show of a run folder without an evaluation of its own benchmark.

    Of a reranking study: the rankings as they were before reranking, of the test split if there is one.
    """
    retrieval = [stage for stage in kinds[RERANKED] if stage.reranker == NOT_RERANKED] or kinds[RERANKED]
    of_test = [stage for stage in retrieval if stage.split == "test"]
    return of_test or retrieval or kinds[TEXTS] or kinds[CIRCO]


def _stage_order(stage: Stage) -> tuple[Any, ...]:
    return (table_order(stage.system), stage.seed, stage.place)


def _evaluations(stages: Sequence[Stage]) -> list[Evaluation]:
    """Two stages of one system and seed are told apart by their stage's name."""
    times = Counter((stage.system, stage.seed, *_reranking(stage)) for stage in stages)
    found = []
    for stage in stages:
        system = stage.system
        if times[system, stage.seed, *_reranking(stage)] > 1:
            system = system._replace(model=f"{system.model} ({stage.name})")
        found.append(Evaluation(stage, system, stage.seed, tuple(read_scores(stage.folder / SCORES_FILE))))
    return found


def _reranking(stage: Stage) -> tuple[str, ...]:
    """What else tells the stages of a reranking study apart."""
    return (stage.split, stage.reranker) if stage.reranker else ()


def _unfinished(run_dir: Path, without: Path | None) -> tuple[str, ...]:
    marks = [*run_dir.glob(f"{SHARED}/*/{STARTED_FILE}"), *run_dir.glob(f"seed*/*/*/{STARTED_FILE}")]
    own = None if without is None else without.resolve()
    folders = [mark.parent for mark in marks if not (mark.parent / STAGE_FILE).exists()]
    return tuple(sorted(folder.relative_to(run_dir).as_posix() for folder in folders if folder.resolve() != own))

"""A run folder, opened: the one class through which notebooks and programs read results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Evaluation, Stage, collect
from lit_mmembed.evaluation.report.curves import LOG_FILE, read_log
from lit_mmembed.evaluation.report.mining import read_statistics, statistics_path
from lit_mmembed.evaluation.report.selection import RUN_FILE
from lit_mmembed.results.answers import Answers
from lit_mmembed.results.mined import MinedNegatives
from lit_mmembed.results.scores import (
    MAIN,
    Row,
    differences,
    labels_of,
    labels_of_evaluation,
    means,
    score_rows,
    select,
)
from lit_mmembed.results.tracing import data_mined, data_searched, model_of, stores_of

if TYPE_CHECKING:
    from lit_mmembed.retrieval.store import Store
    from lit_mmembed.retriever import Retriever

NEGATIVES_FILE = "negatives.parquet"
RANKING_FILES = {"global": RUN_FILE, "local": "run_local.parquet"}
T = TypeVar("T")


class Results:
    """What `mmembed run` has left in a run folder, whatever its seeds and variants.

    Labels such as `model="M_hard"` choose among what is there: those of the recipe, and `seed`, `variant` and `stage`.
    Where one thing is asked for (a ranking, a model) and the labels leave several seeds, it is the lowest seed's, and
    of the run's own benchmark as it was retrieved, unless `set="texts"` asks for its text-to-text sets or
    `set="reranked"` for reranked rankings.

    Args:
        folder: The run folder, such as runs/emoji_clip_sf_study.

    Raises:
        InputError: no such folder, or no finished evaluation in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._run = collect(Path(folder))

    @classmethod
    def below(cls, folder: str | Path) -> list[Results]:
        """Open all run folders in a folder, by name; those without a finished evaluation are left out."""
        found = []
        for inside in sorted(Path(folder).glob("*")):
            try:
                found.append(cls(inside))
            except InputError:
                continue
        return found

    def __repr__(self) -> str:
        seeds = len({evaluation.seed for evaluation in self._run.evaluations})
        return f"Results({self.name}: {len(self._run.systems)} systems, {seeds} seeds)"

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self._run.name

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._run.folder

    @property
    def systems(self) -> list[Row]:
        """What was evaluated, in the order of the report's tables: model, encoder, instructions, variant, seeds."""
        return [
            {**system._asdict(), "seeds": sorted({e.seed for e in self._run.evaluations if e.system == system})}
            for system in self._run.systems
        ]

    @cached_property
    def _scores(self) -> list[Row]:
        return score_rows(self._run)

    def scores(self, **wanted: Any) -> list[Row]:
        """Return scores as plain rows; see `score_rows` for the columns and `select` for `wanted`.

        `metric="headline"` is hit@k at each task's own cut-off, with k = 0 for the averages (`task="avg_all"`).
        """
        return select(self._scores, **wanted)

    def means(self, **wanted: Any) -> list[Row]:
        """Return means and standard deviations over seeds; see `scores` and `lit_mmembed.results.means`."""
        return means(self.scores(**wanted))

    def differences(
        self, a: Mapping[str, Any], b: Mapping[str, Any], *, across: Sequence[str] = (), **wanted: Any
    ) -> list[Row]:
        """Return a - b over paired seeds; see `scores` and `lit_mmembed.results.differences`."""
        return differences(self.scores(**wanted), a, b, across=across)

    def curves(self, *names: str, **wanted: Any) -> list[Row]:
        """Return what training logged: rows of labels, `name`, `step` (from 1) and `value`.

        Args:
            names: Such as "train/loss" or "val/hit@5/mean"; none: everything.
            wanted: See `select`.
        """
        rows = []
        for stage in self._select(self._run.of_command("fit"), wanted):
            if (stage.folder / LOG_FILE).exists():
                for step, logged in read_log(stage.folder / LOG_FILE):
                    kept = {
                        name: value for name, value in logged.items() if (name in names if names else name != "epoch")
                    }
                    rows += [
                        {**labels_of(stage), "name": name, "step": step, "value": value}
                        for name, value in kept.items()
                        if value is not None
                    ]
        return rows

    def mining(self, **wanted: Any) -> list[Row]:
        """Return mining statistics, a row per stage that mined and task; see `mining.statistics` for the columns."""
        found = {stage.place: statistics_path(self._run, stage) for stage in self._run.stages}
        stages = self._select([stage for stage in self._run.stages if found[stage.place]], wanted)
        return [
            {**labels_of(stage), "task": task, **numbers}
            for stage in stages
            for task, numbers in read_statistics(Path(str(found[stage.place]))).items()
        ]

    def answers(self, *, pool: str = "global", **wanted: Any) -> Answers:
        """Open the ranking of one evaluation.

        Raises:
            InputError: the labels fit none or several; its ranking or its data is no longer there.
        """
        if pool not in RANKING_FILES:
            raise InputError(f"pool {pool!r} is unknown", fix=f"use one of {', '.join(RANKING_FILES)}")
        evaluation = self._evaluation(wanted)
        given = evaluation.stage.arguments
        recorded = evaluation.scores[0].record.get("prompts") if evaluation.scores else None
        prompts = str(given.get("prompts") or recorded or "none")
        ranking = _existing(evaluation.stage.folder / RANKING_FILES[pool])
        return Answers(self.data(**wanted), str(given.get("split", "test")), ranking, prompts=prompts)

    def negatives(self, *, split: str = "train", **wanted: Any) -> MinedNegatives:
        """Open the negatives that one stage mined.

        Raises:
            InputError: the labels fit no stage with a negatives.parquet, or several; its data is no longer there.
        """
        mined = [stage for stage in self._run.stages if (stage.folder / NEGATIVES_FILE).exists()]
        stage = _lowest_seed(self._select(mined, wanted), self.folder, wanted, labels_of)
        return MinedNegatives(stage.folder / NEGATIVES_FILE, DataDirectory(data_mined(self._run, stage)), split)

    def data(self, **wanted: Any) -> DataDirectory:
        """Open the data directory of an evaluation; without labels, of the first.

        Raises:
            InputError: none is recorded, as of `--mteb`, or it is no longer there.
        """
        evaluation = self._evaluation(wanted) if wanted else self._run.evaluations[0]
        return DataDirectory(data_searched(self._run, evaluation.stage))

    def model(self, **wanted: Any) -> Path:
        """Return the folder of the model that was evaluated.

        Raises:
            InputError: the labels fit none or several; no model folder is recorded, or it is no longer there.
        """
        return _existing(model_of(self._run, self._evaluation(wanted).stage))

    def retriever(self, **wanted: Any) -> Retriever:
        """Load the model that was evaluated, on the CPU or the GPU."""
        from lit_mmembed.retriever import Retriever

        return Retriever.from_pretrained(self.model(**wanted))

    def stores(self, **wanted: Any) -> tuple[Store, Store]:
        """Open the vectors of an evaluation's queries and candidates, in this order."""
        from lit_mmembed.retrieval.store import Store

        folder = stores_of(self._run, self._evaluation(wanted).stage)
        return Store(folder / "queries"), Store(folder / "candidates")

    def _evaluation(self, wanted: Mapping[str, Any]) -> Evaluation:
        evaluations = self._run.everything
        asked = {"set": MAIN, **wanted}
        fitting = select([{**labels_of_evaluation(e), "place": e.stage.place} for e in evaluations], **asked)
        places = {row["place"] for row in fitting}
        found = [e for e in evaluations if e.stage.place in places]
        return _lowest_seed(found, self.folder, wanted, labels_of_evaluation)

    def _select(self, stages: Sequence[Stage], wanted: Mapping[str, Any]) -> list[Stage]:
        places = {row["place"] for row in select([{**labels_of(s), "place": s.place} for s in stages], **wanted)}
        return [stage for stage in stages if stage.place in places]


def _lowest_seed(found: Sequence[T], folder: Path, wanted: Mapping[str, Any], labels: Callable[[T], Row]) -> T:
    """The one of the lowest seed; InputError when there is none, or several of that seed."""
    asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items()) or "no label"
    if not found:
        raise InputError(f"nothing fits {asked}", file=folder, fix="see `Results.systems` for what is there")
    seed = min(labels(one)["seed"] for one in found)
    lowest = [one for one in found if labels(one)["seed"] == seed]
    if len(lowest) > 1:
        apart = [name for name in labels(lowest[0]) if len({str(labels(one).get(name)) for one in lowest}) > 1]
        values = {name: dict.fromkeys(str(labels(one).get(name)) for one in lowest) for name in apart}
        words = "; ".join(f"{name} {', '.join(known)}" for name, known in values.items())
        raise InputError(f"{len(lowest)} fit {asked}", file=folder, fix=f"name one: {words}")
    return lowest[0]


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError("is no longer there", file=path, fix="run the recipe again")
    return path

"""From a ranking to a ranking: the best documents of each query are put in the order of a model's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.data.ahead import prepared_ahead
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.record import run_record
from lit_mmembed.reranking.asking import Asked, Asking, Shorten
from lit_mmembed.reranking.counting import counted, judged, warn_of_few
from lit_mmembed.reranking.fusion import Fusion, Judged, choose, fusion_content
from lit_mmembed.reranking.journal import NOTHING, Answered, Journal
from lit_mmembed.reranking.parts import Part, part_path
from lit_mmembed.reranking.reordering import answers_metadata, answers_path, reordered, write_answers
from lit_mmembed.reranking.scorer import Scorer
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking, write_ranking
from lit_mmembed.types import Ranking


@dataclass(frozen=True)
class Settings:
    """What is reranked and how."""

    run: Path
    data: Path
    split: str = "test"
    depth: int = 10
    """k: how many documents of each query."""
    batch_tokens: int = 8192
    """Tokens of a pass, at most."""
    document_tokens: int | None = None
    """A document's text is cut to this; None: it is not."""
    tasks: tuple[str, ...] | None = None
    """Only queries of these tasks; what was retrieved for the others stays as it is. None: all."""
    part: Part | None = None
    """Only queries of this part of them, for one process of several; None: all."""


@dataclass(frozen=True)
class Reranked:
    """What came out."""

    retrieved: Ranking
    answers: list[Answered]
    record: dict[str, Any]
    """What produced it, with the counts of fallbacks."""
    judged: list[Judged]
    """For choosing a weight."""
    journal: Journal | None
    """None where the answers are an earlier run's."""

    def ranking(self, fusion: Fusion | None = None) -> Ranking:
        """Return the ranking by P(True), or by fused scores."""
        return reordered(self.retrieved, self.answers, fusion)

    def chosen(self) -> tuple[Fusion, dict[str, Any]]:
        """Choose the weight on this ranking; return it and the content of its file."""
        fusion, grid = choose(self.judged)
        reranking = self.record["reranking"]
        where = {"split": reranking["split"], "data_hash": reranking["data_hash"], "queries": len(self.judged)}
        return fusion, fusion_content(fusion, grid, **where, record=self.record)


def rerank(
    settings: Settings,
    scorer: Scorer,
    out: Path,
    *,
    shorten: Shorten | None = None,
    progress: Callable[..., None] = lambda done, total=None: None,
) -> Reranked:
    """Ask about the best documents of every query; answers are kept in OUT.partial, so that a killed run goes on.

    Args:
        settings: What is reranked.
        scorer: What answers.
        out: The ranking to make, whose name the partial file has; `write_reranked` writes it.
        shorten: Cuts documents' texts, see `asking.shortener`.
        progress: Called with the number of queries answered.

    Raises:
        InputError: a document twice for a query, ids that the data has not, a prompt that is too long.
    """
    if made_path(out, settings.part).exists():
        fix = "name a new ranking, or remove this one first"
        raise InputError("exists already", file=made_path(out, settings.part), fix=fix)
    ranking = read_ranking(settings.run)
    directory = DataDirectory(settings.data)
    asking = asking_about(settings, ranking, directory, shorten)
    places = asking.asked
    if settings.part is None:
        warn_of_few(asking, settings.run)
    what = {**settings_record(settings, directory), **scorer.record()}
    journal = Journal(part_path(out, settings.part), what)
    try:
        progress(len(journal.done), total=len(places))
        for group in _passes(asking, scorer, places[len(journal.done) :], settings.batch_tokens):
            journal.append(_answered(group, scorer))
            progress(len(group))
    finally:
        journal.close()
    answers = _of_all(asking, journal.done)
    about = {**what, **counted(asking, answers, directory), "devices": 1}
    record = {**run_record(), **ranking_record(settings.run), "reranking": about}
    return Reranked(ranking, answers, record, judged(asking, answers, directory), journal)


def asking_about(
    settings: Settings, ranking: Ranking, directory: DataDirectory, shorten: Shorten | None = None
) -> Asking:
    """Return the questions about a ranking that the settings ask for."""
    chosen = {"depth": settings.depth, "tasks": settings.tasks, "part": settings.part}
    return Asking(ranking, directory, settings.split, file=settings.run, shorten=shorten, **chosen)  # type: ignore[arg-type]


def write_reranked(out: Path, reranked: Reranked, fusion: Fusion | None, chosen_in: str | None = None) -> None:
    """Write OUT, the answers beside it, and remove the partial file."""
    about = {**reranked.record["reranking"], "fusion": fusion_record(fusion, chosen_in)}
    record = {**reranked.record, "reranking": about}
    write_answers(answers_path(out), reranked.retrieved, reranked.answers, record)
    write_ranking(out, reranked.ranking(fusion), record=record, trec=out.suffix == ".trec")
    if reranked.journal:
        reranked.journal.remove()


def write_part(out: Path, reranked: Reranked, part: Part) -> None:
    """Write the answers of a part, and remove its partial file."""
    write_answers(made_path(out, part), reranked.retrieved, reranked.answers, reranked.record)
    if reranked.journal:
        reranked.journal.remove()


def made_path(out: Path, part: Part | None) -> Path:
    """Return what a reranking makes: OUT, or OUT.part2-of-4.answers.parquet."""
    return out if part is None else answers_path(part_path(out, part))


def fusion_record(fusion: Fusion | None, chosen_in: str | None) -> dict[str, Any] | None:
    """Return what a run record keeps of the weight: where it was chosen, its file's hash."""
    return {**asdict(fusion), "file_hash": chosen_in} if fusion else None


def is_made_of(out: Path, what: dict[str, Any], fusion: dict[str, Any] | None) -> bool:
    """Return whether a ranking was made of these settings, this model and this weight, as its answers say.

    Args:
        out: The ranking, or the answers of a part of one.
        what: `settings_record` with the scorer's record, or `again.answers_record`.
        fusion: `fusion_record`, or as much of it as is known; None for P(True) alone.
    """
    path = out if "part" in what else answers_path(out)
    found = answers_metadata(path).get("reranking", {}) if path.exists() else {}
    wanted = json.loads(json.dumps(what, default=str))
    weight = found.get("fusion")
    same_weight = weight is None if fusion is None else weight is not None and fusion.items() <= weight.items()
    return same_weight and all(found.get(name) == value for name, value in wanted.items())


def settings_record(settings: Settings, directory: DataDirectory) -> dict[str, Any]:
    """Return what a run record keeps of the settings, files by their hashes."""
    asked = {name: value for name, value in asdict(settings).items() if name not in ("run", "data")}
    if settings.part is None:  # as before there were parts: journals and rankings of then are still found
        del asked["part"]
    return {**asked, "run_hash": file_hash(settings.run), "data_hash": directory.hash}


def _of_all(asking: Asking, done: list[Answered]) -> list[Answered]:
    """Put empty answers between those that there are, for the queries that were not asked about."""
    answers = [NOTHING] * len(asking)
    for place, answered in zip(asking.asked, done, strict=True):
        answers[place] = answered
    return answers


def _passes(asking: Asking, scorer: Scorer, places: list[int], budget: int) -> Iterator[list[tuple[int, Asked, Any]]]:
    """Yield queries with their prepared questions, as many as a budget of tokens takes."""
    group: list[tuple[int, Asked, Any]] = []
    filled = 0

    def prepare(place: int) -> tuple[Asked, Any]:
        asked = asking[place]
        return asked, scorer.prepare(asked.questions)

    for place, (asked, prepared) in prepared_ahead(prepare, places):
        if group and filled + prepared.tokens > budget:
            yield group
            group, filled = [], 0
        group.append((place, asked, prepared))
        filled += prepared.tokens
    if group:
        yield group


def _answered(group: list[tuple[int, Asked, Any]], scorer: Scorer) -> list[Answered]:
    made = scorer.margins([prepared for _, _, prepared in group])
    answers = []
    for (_, asked, _), margins in zip(group, made, strict=True):
        if np.isnan(margins).any():
            fix = "check the weights, or use --precision 32-true"
            raise InputError("the model's answer is not a number", record=asked.questions.query_id, fix=fix)
        back = np.argsort(asked.place)
        answers.append(Answered(np.asarray(margins, dtype=np.float32)[back], asked.fallback[back], asked.cut[back]))
    return answers

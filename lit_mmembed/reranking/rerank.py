"""From a ranking to a ranking: the best documents of each query are put in the order of a model's answers."""

from __future__ import annotations

import logging
from collections import Counter
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
from lit_mmembed.reranking.fusion import Fusion, Judged, choose, fusion_content
from lit_mmembed.reranking.journal import NOTHING, Answered, Journal
from lit_mmembed.reranking.prompts import FALLBACKS
from lit_mmembed.reranking.reordering import reordered
from lit_mmembed.reranking.scorer import Scorer
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking
from lit_mmembed.types import Ranking

COUNTS = ("queries", "queries_left", "queries_with_fewer", "documents", "cut", "fallbacks")
log = logging.getLogger(__name__)


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
    part: tuple[int, int] | None = None
    """(I, N): only each N-th of these queries, from the I-th on (1 to N); None: all."""


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
        out: The ranking to make, whose name the partial file has; `writing.write_reranked` writes it.
        shorten: Cuts documents' texts, see `asking.shortener`.
        progress: Called with the number of queries answered.

    Raises:
        InputError: a document twice for a query, ids that the data has not, a prompt that is too long.
    """
    if out.exists():
        raise InputError("exists already", file=out, fix="name a new ranking, or remove this one first")
    ranking = read_ranking(settings.run)
    directory = DataDirectory(settings.data)
    asking = asking_about(settings, ranking, directory, shorten)
    places = asking.asked
    short = int((asking.counts[places] < settings.depth).sum())
    if short == len(places):
        log.warning("%s: no query has %d documents; those that are there are reranked", settings.run, settings.depth)
    what = {**settings_record(settings, directory), **scorer.record()}
    journal = Journal(out, what)
    try:
        progress(len(journal.done), total=len(places))
        for group in _passes(asking, scorer, places[len(journal.done) :], settings.batch_tokens):
            journal.append(_answered(group, scorer))
            progress(len(group))
    finally:
        journal.close()
    return reranked_of(settings, asking, of_all(asking, journal.done), directory, what=what, journal=journal)


def reranked_of(
    settings: Settings,
    asking: Asking,
    answers: list[Answered],
    directory: DataDirectory,
    *,
    what: dict[str, Any],
    journal: Journal | None,
) -> Reranked:
    """Return what came out, with its record: what was asked, and the counts of what had to be done otherwise."""
    about = {**what, **_counts(asking, answers, directory, settings.depth)}
    record = {**run_record(), **ranking_record(settings.run), "reranking": about}
    return Reranked(asking.ranking, answers, record, judged(asking, answers, directory), journal)


def asking_about(
    settings: Settings, ranking: Ranking, directory: DataDirectory, shorten: Shorten | None = None
) -> Asking:
    """Return the questions about a ranking that the settings ask for."""
    chosen = {"depth": settings.depth, "tasks": settings.tasks, "part": settings.part}
    return Asking(ranking, directory, settings.split, file=settings.run, shorten=shorten, **chosen)  # type: ignore[arg-type]


def settings_record(settings: Settings, directory: DataDirectory) -> dict[str, Any]:
    """Return what a run record keeps of the settings, files by their hashes."""
    asked = {name: value for name, value in asdict(settings).items() if name not in ("run", "data")}
    return {**asked, "run_hash": file_hash(settings.run), "data_hash": directory.hash}


def of_all(asking: Asking, done: list[Answered]) -> list[Answered]:
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


def _counts(asking: Asking, answers: list[Answered], directory: DataDirectory, depth: int) -> dict[str, Any]:
    """Count queries, documents, texts that were cut and fallbacks by task: what `COUNTS` names."""
    by_task: dict[str, Counter[str]] = {}
    for place in asking.asked:
        code, answered = asking.task[place], answers[place]
        counter = by_task.setdefault(directory.tasks[int(code)].name, Counter())
        counter.update({name: int((answered.fallback == 1 + i).sum()) for i, name in enumerate(FALLBACKS)})
    places = asking.asked
    return {
        "queries": len(places),
        "queries_left": len(asking) - len(places),
        "queries_with_fewer": int((asking.counts[places] < depth).sum()),
        "documents": int(asking.counts.sum()),
        "cut": int(sum(answered.cut.sum() for answered in answers)),
        "fallbacks": {task: dict(counter) for task, counter in sorted(by_task.items())},
    }


def judged(asking: Asking, answers: list[Answered], directory: DataDirectory) -> list[Judged]:
    """Return what a weight is chosen by: the scores and labels of each query's documents."""
    found = []
    for place in asking.asked:
        task, answered = directory.tasks[int(asking.task[place])], answers[place]
        first = int(asking.ranking.offsets[place])
        scores = asking.ranking.score[first : first + len(answered.margins)]
        found.append(Judged(task.name, task.cutoff, scores, answered.margins, asking.relevant(place)))
    return found

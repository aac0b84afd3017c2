"""The gallery: a few queries per task with what each model retrieved, relevant and wrong-modality documents marked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from lit_mmembed.evaluation.report.collect import Evaluation, Run
from lit_mmembed.evaluation.report.pictures import Pictures
from lit_mmembed.evaluation.report.selection import (
    DEPTH,
    RUN_FILE,
    Outcome,
    read_top,
    select,
    shown_evaluations,
    split_of,
)
from lit_mmembed.evaluation.report.tables import ARROW, MODALITY_WORDS
from lit_mmembed.types import Ranking, Sample, Task

if TYPE_CHECKING:
    from lit_mmembed.data.directory import DataDirectory

LONGEST_TEXT = 160
RELEVANT, WRONG_MODALITY, OTHER = "relevant", "wrong", "other"


class Shown(NamedTuple):
    """A query or a document as the page shows it."""

    id: str
    text: str
    picture: str | None
    """A data URI; None without a picture or where it could not be shown."""
    has_picture: bool
    modality: str
    mark: str = ""
    """RELEVANT, WRONG_MODALITY or OTHER."""


class Answer(NamedTuple):
    """What one model retrieved."""

    model: str
    documents: Sequence[Shown]


class Example(NamedTuple):
    """A query of the gallery."""

    query: Shown
    instruction: str
    outcome: str
    answers: Sequence[Answer]


class TaskExamples(NamedTuple):
    """The examples of one task."""

    title: str
    asked: str
    """"text → image"."""
    wanted: str
    shares: Sequence[str]
    """How often each outcome occurs."""
    examples: Sequence[Example]


@dataclass(frozen=True)
class Gallery:
    """All examples, and what they are of."""

    what: str
    tasks: Sequence[TaskExamples]
    left_out: int
    """Pictures left out to keep the page small."""


def gallery_of(run: Run, pictures: Pictures) -> Gallery | None:
    """Choose and read the examples; None without a ranking or without the data that was searched.

    Only the documents shown are read from the shards.
    """
    evaluations = shown_evaluations(run)
    directory = run.data_of(evaluations[0]) if evaluations else None
    if directory is None:
        return None
    split = split_of(evaluations[0])
    rankings = {e.system.model: read_top(e.stage.folder / RUN_FILE) for e in evaluations}
    reader = _Reader(directory, split, rankings, _policy(evaluations[0]), pictures)
    tasks = [reader.examples(task, outcomes) for task, outcomes in select(directory, split, rankings).items()]
    system, seed = evaluations[0].system, evaluations[0].seed
    asked = f", {system.instructions} instructions" if system.instructions else ""
    return Gallery(f"seed {seed}{asked}, {split} split, global pool", tasks, pictures.left_out)


def _policy(evaluation: Evaluation) -> str:
    recorded = evaluation.scores[0].record.get("prompts") if evaluation.scores else None
    return str(evaluation.stage.arguments.get("prompts") or recorded or "none")


class _Reader:
    """Reads what is shown: queries, documents, instructions."""

    def __init__(
        self,
        directory: DataDirectory,
        split: str,
        rankings: Mapping[str, Ranking],
        policy: str,
        pictures: Pictures,
    ) -> None:
        from lit_mmembed.retrieval.ids import base_query_ids

        self._queries, self._documents = directory.queries(split), directory.candidates(split)
        self._rankings = rankings
        self._places = {
            model: {str(qid): place for place, qid in reversed(list(enumerate(base_query_ids(ranking.query_ids))))}
            for model, ranking in rankings.items()
        }
        self._directory, self._policy, self._pictures = directory, policy, pictures

    def examples(self, task: Task, outcomes: Sequence[Outcome]) -> TaskExamples:
        """The examples of a task."""
        asked, wanted = (MODALITY_WORDS[m] for m in (task.query_modality, task.candidate_modality))
        return TaskExamples(
            title=f"T{task.paper_id} {task.dataset}",
            asked=f"{asked} {ARROW} {wanted}",
            wanted=wanted,
            shares=[f"{outcome.words}: {100 * outcome.share:.1f} %" for outcome in outcomes],
            examples=[self._example(task, outcome) for outcome in outcomes],
        )

    def _example(self, task: Task, outcome: Outcome) -> Example:
        query = self._queries.by_id(outcome.qid)
        answers = []
        for model, ranking in self._rankings.items():
            place = self._places[model].get(query.id)
            ids = [] if place is None else _top(ranking, place)
            documents = [self._documents.by_id(did) for did in ids]
            answers.append(
                Answer(model, [shown_of(d, self._pictures, mark_of(d, outcome.positives, task)) for d in documents])
            )
        instruction = instruction_of(self._directory, self._policy, task)
        return Example(shown_of(query, self._pictures), instruction, outcome.words, answers)


def shown_of(sample: Sample, pictures: Pictures, mark: str = "") -> Shown:
    """A query or a document with its text cut to a length that fits and its picture as long as there is room."""
    text = " ".join((sample.text or "").split())
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    picture = pictures.uri(sample.image) if sample.image else None
    return Shown(sample.id, text, picture, sample.image is not None, MODALITY_WORDS[sample.modality], mark)


def instruction_of(directory: DataDirectory, policy: str, task: Task) -> str:
    """The instruction that queries of a task carry under a prompt policy; empty where they carry none."""
    from lit_mmembed.data.instructions import Instructions, PromptPolicy

    if policy == PromptPolicy.NONE or directory.instructions_path is None:
        return ""
    first = Instructions.load(directory.instructions_path).wordings(task)[0]
    return f"{first} (or another wording, drawn)" if policy == PromptPolicy.RANDOM else first


def mark_of(document: Sample, positives: Collection[str], task: Task) -> str:
    """A relevant document is right whatever its modality."""
    if document.id in positives:
        return RELEVANT
    return OTHER if document.modality == task.candidate_modality else WRONG_MODALITY


def _top(ranking: Ranking, place: int) -> list[str]:
    first, last = ranking.offsets[place], ranking.offsets[place + 1]
    return [str(ranking.document_ids[row]) for row in ranking.document[first : min(last, first + DEPTH)]]

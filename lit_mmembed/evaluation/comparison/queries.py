"""Queries won and lost: where the first positive moved most, with what both systems retrieved.

Shapes: Q judged queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.comparison.judging import Judgements, Values
from lit_mmembed.evaluation.comparison.runs import Evaluated
from lit_mmembed.evaluation.comparison.systems import Contender, Pair
from lit_mmembed.evaluation.comparison.tables import seeds_of
from lit_mmembed.evaluation.per_query import Group
from lit_mmembed.evaluation.report.gallery import Answer, Example, TaskExamples, instruction_of, mark_of, shown_of
from lit_mmembed.evaluation.report.pictures import Pictures
from lit_mmembed.evaluation.report.selection import read_top
from lit_mmembed.evaluation.report.tables import ARROW, MODALITY_WORDS
from lit_mmembed.retrieval.ids import base_query_ids
from lit_mmembed.types import stable_id

if TYPE_CHECKING:
    from lit_mmembed.types import Task

SHOWN_DOCUMENTS = 3
PER_DIRECTION = 2
"""Queries won and queries lost that a page shows of a task; one where it has several pairs."""
SAME = 1e-9
"""Gains that rounding alone can make."""


class PairExamples(NamedTuple):
    """The examples of two systems."""

    title: str
    what: str
    """Of which seeds the ranks are."""
    tasks: Sequence[TaskExamples]


def examples_of(
    pairs: Sequence[Pair], judgements: Judgements, judged: Mapping[Path, Values], pictures: Pictures
) -> list[PairExamples]:
    """Choose and read the examples of every pair; empty where queries and documents cannot be read."""
    each = PER_DIRECTION if len(pairs) == 1 else 1
    try:
        return [_Reader(pair, judgements, judged, pictures).examples(each) for pair in pairs]
    except (InputError, OSError):
        return []


def gain_of(pair: Pair, judged: Mapping[Path, Values]) -> np.ndarray:
    """[Q] by how many powers of 2 the first positive rose from base to other, mean over each one's seeds.

    From rank 2 to 1 counts as much as from 50 to 25; a positive below the ranking stands one place after its end.
    """
    base, other = (np.mean([np.log2(judged[e.folder].rank) for e in side.evaluations], axis=0) for side in pair)
    return base - other


def choose(gain: np.ndarray, group: Group, qids: np.ndarray, each: int) -> tuple[list[int], list[int]]:
    """The queries of a task with the largest gains, and with the largest losses; ties by the smaller hash of the id."""

    def best(sign: int) -> list[int]:
        moved = [int(row) for row in group.rows if sign * gain[row] > SAME]
        return sorted(moved, key=lambda row: (round(-sign * float(gain[row]), 9), stable_id(str(qids[row]))))[:each]

    return best(1), best(-1)


class _Reader:
    """Reads what is shown of two systems."""

    def __init__(self, pair: Pair, judgements: Judgements, judged: Mapping[Path, Values], pictures: Pictures) -> None:
        self.pair, self.judgements, self.judged, self.pictures = pair, judgements, judged, pictures
        directory, split = judgements.directory, judgements.split
        self.queries, self.documents = directory.queries(split), directory.candidates(split)
        self.gain = gain_of(pair, judged)
        self.tops = [[_Top(evaluation) for evaluation in contender.evaluations] for contender in pair]

    def examples(self, each: int) -> PairExamples:
        tasks = [self._task(group, group.task, each) for group in self.judgements.groups if group.task]
        return PairExamples(self.pair.title, seeds_of(self.pair), [task for task in tasks if task.examples])

    def _task(self, group: Group, task: Task, each: int) -> TaskExamples:
        qids = self.judgements.qrels.query_ids
        won, lost = choose(self.gain, group, qids, each)
        gain, base, other = self.gain[group.rows], self.pair.base.name, self.pair.other.name
        shares = {f"won by {other}": gain > SAME, f"lost to {base}": gain < -SAME, "level": np.abs(gain) <= SAME}
        asked, wanted = (MODALITY_WORDS[m] for m in (task.query_modality, task.candidate_modality))
        return TaskExamples(
            title=f"T{task.paper_id} {task.dataset}",
            asked=f"{asked} {ARROW} {wanted}",
            wanted=wanted,
            shares=[f"{words}: {100 * mask.mean():.1f} %" for words, mask in shares.items()],
            examples=[self._example(row, task) for row in (*won, *lost)],
        )

    def _example(self, row: int, task: Task) -> Example:
        qrels = self.judgements.qrels
        qid = str(qrels.query_ids[row])
        judged = qrels.document_ids[qrels.document[(qrels.query == row) & (qrels.relevance > 0)]]
        positives = [str(did) for did in judged]
        places = self._shown_seeds(row)
        shown_tops = [tops[place] for tops, place in zip(self.tops, places, strict=True)]
        tops = [top.documents(qid) for top in shown_tops]
        found = [did for top in reversed(tops) for did in top if did in positives]
        title = "the positive" if len(positives) == 1 else f"one of {len(positives)} positives"
        shown = {title: (found or positives)[:1]}
        shown |= {c.name: top[:SHOWN_DOCUMENTS] for c, top in zip(self.pair, tops, strict=True)}
        policy = shown_tops[1].policy
        answers = []
        for name, dids in shown.items():
            documents = [self.documents.by_id(did) for did in dids]
            answers.append(Answer(name, [shown_of(d, self.pictures, mark_of(d, positives, task)) for d in documents]))
        instruction = instruction_of(self.judgements.directory, policy, task)
        outcome = self._outcome(row, [top.seed for top in shown_tops])
        return Example(shown_of(self.queries.by_id(qid), self.pictures), instruction, outcome, answers)

    def _shown_seeds(self, row: int) -> list[int]:
        """Of paired seeds the one that moved the positive most in the direction told; else the first of each."""
        if not self.pair.is_paired:
            return [0, 0]
        base, other = (np.array([self.judged[e.folder].rank[row] for e in side.evaluations]) for side in self.pair)
        return [int(np.argmax(np.sign(self.gain[row]) * (np.log2(base) - np.log2(other))))] * 2

    def _outcome(self, row: int, seeds: Sequence[int]) -> str:
        verb = "won by" if self.gain[row] > 0 else "lost by"
        ranks = (f"{self._ranks(contender, row)} with {contender.name}" for contender in self.pair)
        shown = ""
        if any(len(contender.evaluations) > 1 for contender in self.pair):
            shown = f"; shown: seed {' and '.join(map(str, dict.fromkeys(seeds)))}"
        return f"{verb} {self.pair.other.name}: the positive's rank is {', '.join(ranks)}{shown}"

    def _ranks(self, contender: Contender, row: int) -> str:
        """By seed; a rank that several wordings share need not be whole."""
        values = [self.judged[e.folder] for e in contender.evaluations]
        return " / ".join(f"{v.rank[row]:.3g}" if v.rank[row] <= v.depth else f">{v.depth}" for v in values)


class _Top:
    """The best few documents of one evaluation."""

    def __init__(self, evaluation: Evaluated) -> None:
        self.policy = str(evaluation.stage.arguments.get("prompts") or evaluation.record.get("prompts") or "none")
        self.seed = evaluation.seed
        self._ranking = read_top(evaluation.ranking)
        names = base_query_ids(self._ranking.query_ids)
        self._places = {str(qid): place for place, qid in reversed(list(enumerate(names)))}

    def documents(self, qid: str) -> list[str]:
        """Best first; of several wordings the first one's."""
        place = self._places.get(qid)
        if place is None:
            return []
        ranking = self._ranking
        rows = ranking.document[ranking.offsets[place] : ranking.offsets[place + 1]]
        return [str(ranking.document_ids[row]) for row in rows]

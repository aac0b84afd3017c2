from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.generation import Shares, Sources, TrainingExamples, validation_examples
from lit_mmembed.data.judging import judging_prompt
from lit_mmembed.errors import InputError
from tests.data.birds import write_birds
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def sources(tiny: Tiny):
    return Sources(DataDirectory(tiny.data), "train")


def drawn(examples: TrainingExamples, epoch: int = 0, times: int = 20):
    rows = len(examples)
    return [examples[epoch, position, position % rows] for position in range(times * rows)]


def judged_pairs(sources: Sources, task: int, *, right: bool):
    """Every prompt of a task that is right, or every one that is wrong, the slow way."""
    named = sources.tasks[task]
    documents = [d for d in sources.candidates if d.modality is named.candidate_modality]
    return {
        judging_prompt(named, query, document)
        for query in sources.queries
        if query.task == named.name
        for document in documents
        if (document.id in query.positives) == right
    }


@pytest.mark.parametrize(("answer", "right"), [("True", True), ("False", False)])
def test_a_judgement_is_true_for_a_positive_and_false_for_another_document_of_the_right_modality(
    sources, answer, right
):
    for row in range(len(sources.queries)):
        example = sources.judgement(row, answer, np.random.default_rng(row))
        assert example.answer == answer
        assert example.prompt in judged_pairs(sources, example.task, right=right)


def test_true_and_false_are_equally_often_asked_for(sources):
    examples = drawn(TrainingExamples(sources, Shares(0, 0, 0, 1), seed=1))
    counts = Counter(example.answer for example in examples)
    assert set(counts) == {"True", "False"}
    assert abs(counts["True"] - counts["False"]) < 4 * len(examples) ** 0.5


def test_an_epoch_of_judgements_asks_about_every_query(sources):
    examples = drawn(TrainingExamples(sources, Shares(0, 0, 0, 1), seed=1), times=1)
    per_task = Counter(example.task for example in examples)
    assert per_task == Counter(np.asarray(sources.queries.task).tolist())


def test_a_caption_is_a_positive_of_the_query_whose_picture_is_shown(sources):
    captions = {
        (query.image, sources.candidates.by_id(did).text)
        for query in sources.queries
        if query.task == "mscoco_task3"
        for did in query.positives
    }
    for row in sources.rows["caption"]:
        example = sources.caption(int(row), np.random.default_rng(0))
        assert example.prompt.text == "<image>\nDescribe the image."
        assert (*example.prompt.images, example.answer) in captions


def test_an_answer_is_the_passage_to_the_question_over_a_picture(tmp_path):
    birds = Sources(DataDirectory(write_birds(tmp_path)), "train")
    (row,) = birds.rows["answer"]
    example = birds.answer(int(row), np.random.default_rng(0))
    assert example.prompt == ("<image>\nHow heavy is this?", (birds.candidates.by_id("20:1").image,))
    assert example.answer == "Wrens weigh nine grams."


def test_kinds_are_drawn_by_their_shares(sources):
    examples = drawn(TrainingExamples(sources, Shares(caption=1, text=2, answer=5, judgement=1), seed=3), times=30)
    counts = Counter(example.kind for example in examples)
    total = len(examples)
    assert set(counts) == {"caption", "text", "judgement"}  # nothing here asks a question over a picture for a text
    assert counts["text"] / total == pytest.approx(0.5, abs=0.06)
    assert counts["caption"] / total == pytest.approx(0.25, abs=0.06)


def test_a_text_is_a_documents(sources):
    texts = {document.text for document in sources.candidates if document.modality == "text"}
    examples = drawn(TrainingExamples(sources, Shares(0, 1, 0, 0), seed=3), times=2)
    assert {example.answer for example in examples} <= texts
    assert all(example.prompt == ("", ()) for example in examples)


def test_an_example_depends_on_seed_epoch_and_position_alone(sources):
    one, again = (TrainingExamples(sources, Shares(), seed=4) for _ in range(2))
    backwards = [again[0, position, position % len(one)] for position in reversed(range(50))]
    assert [one[0, position, position % len(one)] for position in range(50)] == backwards[::-1]
    assert drawn(one, epoch=0, times=1) != drawn(one, epoch=1, times=1)
    assert drawn(one, times=1) != drawn(TrainingExamples(sources, Shares(), seed=5), times=1)


def test_validation_asks_every_query_twice_once_true_once_false(tiny: Tiny):
    sources = Sources(DataDirectory(tiny.data), "val")
    examples = list(validation_examples(sources, None, seed=0))
    judgements = Counter((example.task, example.answer) for example in examples if example.kind == "judgement")
    queries = Counter(np.asarray(sources.queries.task).tolist())
    assert judgements == {(task, answer): n for task, n in queries.items() for answer in ("True", "False")}
    assert sum(example.kind == "caption" for example in examples) == len(sources.rows["caption"])
    assert examples == list(validation_examples(sources, None, seed=0))


def test_validation_can_be_limited_to_some_queries_of_each_task(tiny: Tiny):
    sources = Sources(DataDirectory(tiny.data), "val")
    examples = list(validation_examples(sources, 1, seed=0))
    judged = Counter(example.task for example in examples if example.kind == "judgement")
    assert judged == dict.fromkeys(np.asarray(sources.queries.task).tolist(), 2)


def test_shares_of_nothing_are_an_error(sources):
    with pytest.raises(InputError, match="no kind of example"):
        TrainingExamples(sources, Shares(0, 0, 1, 0), seed=0)

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.generation import Shares, Sources, TrainingExamples, validation_examples
from lit_mmembed.data.judging import judging_prompt
from lit_mmembed.errors import InputError
from tests.data.birds import write_birds
from tests.tiny import Tiny, done, write_source


@pytest.fixture(scope="module")
def sources(tiny: Tiny):
    return Sources(DataDirectory(tiny.data), "train")


def drawn(examples: TrainingExamples, epoch: int = 0, times: int = 20):
    rows = len(examples)
    return [one for position in range(times * rows) for one in examples[epoch, position, position % rows]]


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


def test_judgements_come_in_pairs_one_true_one_false_of_the_same_query(sources):
    examples = TrainingExamples(sources, Shares(0, 0, 0, 0, 1), seed=1)
    for row in range(len(examples)):
        true, false = examples[0, row, row]
        assert (true.answer, false.answer) == ("True", "False")
        assert true.task == false.task == int(sources.queries.task[row])
        assert true.prompt != false.prompt


def test_an_epoch_of_judgements_asks_about_every_query_twice(sources):
    examples = drawn(TrainingExamples(sources, Shares(0, 0, 0, 0, 1), seed=1), times=1)
    per_task = Counter(example.task for example in examples)
    assert per_task == {task: 2 * n for task, n in Counter(np.asarray(sources.queries.task).tolist()).items()}


def test_a_cloze_asks_for_the_text_of_a_stretch_or_whether_it_is_from_this_one(sources):
    texts = {document.text for document in sources.candidates if document.modality == "text"}
    examples = TrainingExamples(sources, Shares(0, 0, 0, 1, 0), seed=1)
    seen = Counter()
    for position in range(60):
        made = examples[0, position, 0]
        seen[len(made)] += 1
        stretch = made[0].prompt.text.split("\n")[0].removeprefix("Question: ").removesuffix("?")
        assert 2 <= len(stretch.split()) <= 6
        if len(made) == 1:
            assert made[0].answer in texts and stretch in made[0].answer
            assert made[0].prompt.text.endswith("?\nAnswer:")
            continue
        answers = [one.prompt.text.split("\nAnswer: ")[1].split("\nDoes")[0] for one in made]
        assert [one.answer for one in made] == ["True", "False"]
        assert stretch in answers[0] and set(answers) <= texts and answers[0] != answers[1]
    assert min(seen[1], seen[2]) > 15


def test_a_caption_belongs_to_the_picture_whichever_of_the_two_asks(sources):
    captions = set()
    for query in sources.queries:
        for did in query.positives:
            if query.task == "mscoco_task0":
                captions.add((sources.candidates.by_id(did).image, query.text))
            if query.task == "mscoco_task3":
                captions.add((query.image, sources.candidates.by_id(did).text))
    for row in sources.rows["caption"]:
        example = sources.caption(int(row), np.random.default_rng(0))
        assert example.prompt.text == "<image>\nDescribe the image."
        assert (*example.prompt.images, example.answer) in captions
    asking = {sources.queries[int(row)].task for row in sources.rows["caption"]}
    assert asking == {"mscoco_task0", "mscoco_task3"}


def test_an_answer_is_the_text_that_a_query_asks_for_in_the_words_in_which_it_is_judged(tmp_path):
    birds = Sources(DataDirectory(write_birds(tmp_path)), "train")
    picture = birds.candidates.by_id("20:1").image
    examples = [birds.answer(int(row), np.random.default_rng(0)) for row in birds.rows["answer"]]
    made = {(*example.prompt, example.answer) for example in examples if example.prompt.text != "<image>\nCaption:"}
    assert made == {
        ("Question: How heavy is a wren?\nAnswer:", (), "Wrens weigh nine grams."),
        ("Question: How many eggs has a wren?\nAnswer:", (), "Wrens lay six eggs."),
        ("<image>\nQuestion:How heavy is this?\nAnswer:", (picture,), "Wrens weigh nine grams."),
    }
    (caption,) = (example for example in examples if example.prompt.text == "<image>\nCaption:")
    assert caption.prompt.images == (picture,)
    assert caption.answer in {"A small brown bird.", "A wren on a branch."}


def test_kinds_are_drawn_by_their_shares(sources):
    shares = Shares(caption=1, text=2, answer=1, cloze=0, judgement=4)
    examples = TrainingExamples(sources, shares, seed=3)
    counts = Counter(examples[0, position, 0][0].kind for position in range(1200))
    assert set(counts) == {"caption", "text", "answer", "judgement"}
    for kind, count in counts.items():
        assert count / 1200 == pytest.approx(vars(shares)[kind] / 8, abs=0.05)


def test_a_kind_that_the_data_lacks_is_not_drawn(tmp_path):
    source = write_source(tmp_path / "source", {4: "nights_task4"})
    done("shard", "--source", "mbeir", "--root", source, "--out", tmp_path / "data")
    examples = TrainingExamples(Sources(DataDirectory(tmp_path / "data"), "train"), Shares(), seed=0)
    assert {example.kind for example in drawn(examples)} == {"text", "cloze", "judgement"}


def test_a_text_is_a_documents(sources):
    texts = {document.text for document in sources.candidates if document.modality == "text"}
    examples = drawn(TrainingExamples(sources, Shares(0, 1, 0, 0, 0), seed=3), times=2)
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
        TrainingExamples(sources, Shares(0, 0, 0, 0, 0), seed=0)

"""An encoder behind mteb's two protocols: beside `Retriever`, a naive search, and mteb's own search."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb import searching
from lit_mmembed.evaluation.mteb.searching import strictly_falling
from lit_mmembed.retriever import Retriever
from tests.encoders.small import TEXTS, jpeg, own_small
from tests.encoders.small_mllm import llava_e, llava_p
from tests.evaluation.mteb_world import (
    DOCUMENTS,
    QUERIES,
    counting,
    encoding_only,
    library,
    retriever,
    text_task,
)

__all__ = ["library"]

MOCKS = (
    "MockRetrievalTask",
    "MockRetrievalDialogTask",
    "MockMultilingualRetrievalTask",
    "MockInstructionRetrieval",
    "MockMultiChoiceTask",
    "MockAny2AnyRetrievalI2TTask",
    "MockAny2AnyRetrievalT2ITask",
    "MockRerankingTask",
    "MockInstructionReranking",
    "MockSTSTask",
    "MockClassificationTask",
    "MockImageClassificationTask",
)
JOINED = ["Foxes  A red fox sleeps.", "The capital of France is Paris.", "Cats", DOCUMENTS[3]["text"]]


def where(task):
    return {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default"}


def found(model, task, *, queries=None, top_k=10, top_ranked=None):
    from datasets import Dataset

    task.load_data()
    parts = task.dataset["default"]["test"]
    model.index(parts["corpus"], **where(task), encode_kwargs={}, num_proc=None)
    asked = Dataset.from_list(queries) if queries else parts["queries"]
    return model.search(asked, **where(task), top_k=top_k, encode_kwargs={}, top_ranked=top_ranked, num_proc=None)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    return own_small(tmp_path_factory.mktemp("encoder")).eval()


@pytest.mark.parametrize("make", [own_small, llava_p])
def test_texts_images_and_both_are_embedded_as_retriever_does(library, tmp_path, make):
    import io

    from mteb.mocks.mock_tasks import MockAny2AnyRetrievalT2ITask
    from mteb.types import PromptType
    from PIL import Image

    plain = Retriever(make(tmp_path), device="cpu")
    model = retriever(plain.encoder, tmp_path, rows=2, tokens=64)
    pictures = [Image.open(io.BytesIO(jpeg(seed, (50, 30)))) for seed in range(5)]
    batches = [{"text": TEXTS[:3], "image": pictures[:3]}, {"text": TEXTS[3:], "image": pictures[3:]}]
    rows = [{"text": text, "image": image} for text, image in zip(TEXTS, pictures, strict=True)]
    task = MockAny2AnyRetrievalT2ITask()
    documents = model.encode(batches, **where(task), prompt_type=PromptType.document)
    assert np.allclose(documents, plain.encode_candidates(rows), atol=1e-5)
    images = model.encode([{"image": pictures}], **where(task), prompt_type=PromptType.document)
    assert np.allclose(images, plain.encode_candidates(pictures), atol=1e-5)
    asking = text_task(prompt={"query": "Find it.", "document": "Unused."})
    queries = model.encode([{"text": TEXTS}], **where(asking), prompt_type=PromptType.query)
    assert np.allclose(queries, plain.encode_queries(TEXTS, instruction="Find it."), atol=1e-5)
    neither = model.encode([{"text": TEXTS}], **where(asking), prompt_type=None)
    assert np.allclose(neither, queries, atol=1e-5)
    assert np.allclose(model.similarity(documents, images), documents @ images.T, atol=1e-5)
    assert np.allclose(model.similarity_pairwise(documents, images), (documents * images).sum(1), atol=1e-5)


def test_a_corpus_is_ranked_as_a_naive_search_ranks_titles_joined_with_texts(library, encoder, tmp_path):
    plain = Retriever(encoder, device="cpu")
    results = found(retriever(encoder, tmp_path), text_task())
    vectors = plain.encode_candidates(JOINED).numpy()
    for query in QUERIES:
        scores = vectors @ plain.encode_queries([query["text"]]).numpy()[0]
        expected = {**{f"d{n}": score for n, score in enumerate(scores, start=1)}, "d5": 0.0}
        assert results[query["id"]] == pytest.approx(expected, abs=1e-5)
        assert list(results[query["id"]]) == sorted(expected, key=lambda did: -expected[did])
    assert [len(row) for row in found(retriever(encoder, tmp_path), text_task(), top_k=2).values()] == [2, 2]


@pytest.mark.parametrize("name", MOCKS)
def test_mtebs_own_search_over_our_encode_gives_the_same_scores(library, encoder, tmp_path, name):
    from mteb.mocks import mock_tasks

    options = {"cache": None, "co2_tracker": False, "show_progress_bar": False}
    model = retriever(encoder, tmp_path)
    ours = library.evaluate(model, getattr(mock_tasks, name)(), **options).task_results[0]
    theirs = library.evaluate(encoding_only(model), getattr(mock_tasks, name)(), **options).task_results[0]
    assert ours.get_score() == pytest.approx(theirs.get_score(), abs=1e-6)
    assert ours.scores.keys() == theirs.scores.keys()


def test_a_querys_own_instruction_goes_behind_its_text(library, encoder, tmp_path):
    asked = {"id": "q1", "text": "red fox", "instruction": "only asleep"}
    joined = {"id": "q1", "text": "red fox only asleep"}
    model = retriever(encoder, tmp_path)
    assert found(model, text_task(), queries=[asked]) == found(model, text_task(), queries=[joined])
    assert found(model, text_task(), queries=[asked]) != found(model, text_task(), queries=QUERIES[:1])


def test_only_documents_to_be_reranked_are_embedded_and_returned(library, encoder, tmp_path, monkeypatch):
    full = found(retriever(encoder, tmp_path), text_task())
    embedded = counting(monkeypatch)
    task = text_task(top_ranked={"q1": ["d4", "d1"], "q2": ["d1"]})
    given = found(retriever(encoder, tmp_path), task, top_ranked={"q1": ["d4", "d1"], "q2": ["d1"]})
    assert sum(embedded) == 2  # d4 and d1; the queries' store is there already
    assert given == {
        "q1": pytest.approx({did: full["q1"][did] for did in ("d1", "d4")}),
        "q2": pytest.approx({"d1": full["q2"]["d1"]}),
    }
    assert found(retriever(encoder, tmp_path), task, top_ranked={"q1": ["d4"]})["q2"] == {}
    with pytest.raises(InputError, match="q1: document d9 is to be reranked and is not in the corpus"):
        found(retriever(encoder, tmp_path), task, top_ranked={"q1": ["d9"]})


def test_the_pool_is_looked_through_once_for_the_documents_of_all_queries(library, encoder, tmp_path, monkeypatch):
    given = {"q1": ["d4", "d1"], "q2": ["d2", "d4", "d1"]}
    task, asked = text_task(top_ranked=given), [*QUERIES, {"id": "q3", "text": "nothing given"}]
    looked_for, places_in = [], searching.places_in
    monkeypatch.setattr(searching, "places_in", lambda names, ids: looked_for.append(names) or places_in(names, ids))
    results = found(retriever(encoder, tmp_path), task, queries=asked, top_ranked=given)
    assert {qid: set(row) for qid, row in results.items()} == {"q1": {*given["q1"]}, "q2": {*given["q2"]}, "q3": set()}
    assert looked_for == [["d4", "d1", "d2", "d4", "d1"]]


def test_equal_documents_are_scored_in_the_order_of_their_ids(library, encoder, tmp_path):
    same = [{"id": did, "text": "a red fox"} for did in ("b", "a", "c")]
    task = text_task(documents=same, queries=QUERIES[:1], relevant={"q1": {"a": 1}})
    model = retriever(encoder, tmp_path, rows=1)  # in one batch, equal rows may differ in their last bits
    result = library.evaluate(model, task, cache=None, co2_tracker=False).task_results[0]
    assert result.scores["test"][0]["mrr_at_10"] == 1.0
    assert result.scores["test"][0]["ndcg_at_1"] == 1.0


def test_scores_fall_strictly_and_keep_their_order():
    scores = np.array([[0.5, 0.5, 0.5, 0.49999997, 0.1], [0.0, 0.0, -np.inf, -np.inf, -np.inf]], dtype=np.float32)
    falling = strictly_falling(scores)
    assert (np.diff(falling[0]) < 0).all()
    assert falling[1, 1] < falling[1, 0] == 0
    assert np.abs(falling[0] - scores[0]).max() < 1e-6


def test_finished_stores_are_used_again_and_other_settings_have_stores_of_their_own(
    library, encoder, tmp_path, monkeypatch
):
    embedded = counting(monkeypatch)
    first = found(retriever(encoder, tmp_path), text_task())
    assert sum(embedded) == 6  # d5 has no content
    assert found(retriever(encoder, tmp_path), text_task()) == first
    assert sum(embedded) == 6
    found(retriever(encoder, tmp_path, "none"), text_task(prompt="Find it."))
    assert sum(embedded) == 8  # the queries alone
    other = own_small(tmp_path).eval()
    assert found(retriever(other, tmp_path), text_task()) != first


def test_a_killed_embedding_goes_on(library, encoder, tmp_path, monkeypatch):
    from lit_mmembed.evaluation.mteb import embedding
    from lit_mmembed.retrieval import store

    monkeypatch.setattr(store, "SECONDS_BETWEEN_SYNCS", 0.0)
    whole = found(retriever(encoder, tmp_path / "whole", rows=1), text_task())
    embed, left = embedding._vectors, [4]

    def failing(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return embed(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(embedding, "_vectors", failing)
        found(retriever(encoder, tmp_path / "killed", rows=1), text_task())
    embedded = counting(monkeypatch)
    assert found(retriever(encoder, tmp_path / "killed", rows=1), text_task()) == whole
    assert embedded == [1, 1]


def test_a_text_that_spells_the_images_placeholder_is_embedded_all_the_same(library, tmp_path):
    documents = [{"id": "d1", "text": "an <image> in words"}]
    task = text_task(documents=documents, relevant={"q1": {"d1": 1}, "q2": {"d1": 1}})
    model = retriever(llava_e(), tmp_path)
    assert set(found(model, task)["q1"]) == {"d1"}
    plain = Retriever(model.encoder, device="cpu")
    expected = plain.encode_candidates(["an < image> in words"]) @ plain.encode_queries(["red fox"]).T
    assert found(model, task)["q1"]["d1"] == pytest.approx(expected.item(), abs=1e-5)


def test_lengths_hold_for_each_side_and_are_refused_where_a_model_takes_none(library, encoder, tmp_path):
    long = text_task(documents=[{"id": "d1", "text": "fox " * 200}])
    short = text_task(documents=[{"id": "d1", "text": "fox " * 20}])
    cut = retriever(llava_e(), tmp_path / "cut", lengths=(16, 16))
    assert found(cut, long)["q1"]["d1"] == pytest.approx(found(cut, short)["q1"]["d1"], abs=1e-5)
    own = retriever(llava_e(), tmp_path / "own")
    assert found(own, long)["q1"]["d1"] != pytest.approx(found(own, short)["q1"]["d1"], abs=1e-4)
    with pytest.raises(InputError, match="takes no lengths"):
        retriever(encoder, tmp_path, lengths=(16, 16))


def test_search_asks_for_an_index_first(library, encoder, tmp_path):
    task = text_task()
    with pytest.raises(InputError, match="no corpus is indexed"):
        retriever(encoder, tmp_path).search([], **where(task), top_k=1, encode_kwargs={}, num_proc=None)

"""The data module without a trainer: the same batches for any number of workers, and what validation embeds."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from lit_mmembed.data.datamodule import RetrievalData, collections
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.encoding import SortedBatches
from lit_mmembed.errors import InputError
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.types import Batch, EncoderRow, Side, stable_id
from tests.data.test_negatives import write
from tests.tiny import Tiny


def described(rows: list[EncoderRow]) -> dict:
    """A preprocess that keeps what it is given, hashed."""
    texts = [f"{row.side}|{row.instruction}|{row.text}|{len(row.image or b'')}" for row in rows]
    return {"row": torch.tensor([stable_id(text) for text in texts])}


def data(tiny: Tiny, **settings) -> RetrievalData:
    module = RetrievalData(tiny.data, **{"batch_size": 8, **settings})
    module.connect(described)
    return module


def content(batch: Batch) -> list:
    parts = (batch.query["row"], batch.document["row"], batch.document_ids, batch.known_positives, batch.task)
    return [part.tolist() for part in parts]


def epoch_of(module: RetrievalData, epoch: int) -> list:
    loader = module.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return [content(batch) for batch in loader]


@pytest.mark.parametrize("mixing", ["mixed", "one_task"])
def test_batches_do_not_depend_on_the_number_of_workers(tiny, tiny_run, mixing):
    settings = {"prompts": "random", "negatives": tiny_run / "negatives.parquet", "mixing": mixing, "batch_size": 6}
    runs = [[epoch_of(data(tiny, workers=workers, **settings), epoch) for epoch in (0, 1)] for workers in (0, 1, 2)]
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]


def test_one_task_makes_batches_of_one_task_and_mixed_makes_others(tiny):
    tasks = {
        mixing: [set(batch[4]) for batch in epoch_of(data(tiny, mixing=mixing, batch_size=5), 0)]
        for mixing in ("one_task", "mixed")
    }
    assert all(len(found) == 1 for found in tasks["one_task"])
    assert any(len(found) > 1 for found in tasks["mixed"])
    assert len(tasks["one_task"]) == len(tasks["mixed"]) == 8


def test_lightning_finds_the_sampler_whose_epoch_it_sets(tiny):
    from lightning.fabric.utilities.data import _set_sampler_epoch

    loader = data(tiny).train_dataloader()
    first = [content(batch) for batch in loader]
    _set_sampler_epoch(loader, 1)
    assert [content(batch) for batch in loader] == epoch_of(data(tiny), 1) != first


def test_other_negatives_are_drawn_from_the_next_iteration_on(tiny, tmp_path):
    module = data(tiny)
    loader = module.train_dataloader()
    assert all(len(batch.document_ids) == 8 for batch in loader)
    qids = DataDirectory(tiny.data).queries("train").ids
    module.use_negatives(write(tmp_path / "n.parquet", [(qid, "2:17", "unsatisfying") for qid in qids]))
    for batch in loader:
        assert batch.document_ids[8:].tolist() == [stable_id("2:17")] * 8


def test_a_document_that_is_a_positive_of_a_query_is_no_negative_of_it_in_the_loss(tiny):
    """MSCOCO query n has documents n and n + 1: in a batch of all of them the neighbour's positive is masked, by id."""
    batch = next(iter(data(tiny, batch_size=40).train_dataloader()))
    queries, documents = torch.nn.functional.normalize(torch.randn(2, 40, 6), dim=-1)
    arguments = {
        "positive": batch.positive,
        "document_ids": batch.document_ids,
        "known_positives": batch.known_positives,
    }
    losses = InfoNCE(0.1)(queries, documents, **arguments)
    masked = 0
    for row in range(40):
        known = set(batch.known_positives[row].tolist()) | {int(batch.document_ids[row])}
        kept = [n for n in range(40) if n == row or int(batch.document_ids[n]) not in known]
        masked += 40 - len(kept)
        scores = queries[row] @ documents[kept].T / 0.1
        torch.testing.assert_close(losses[row], torch.logsumexp(scores, 0) - scores[kept.index(row)])
    assert masked > 5


def test_validation_takes_the_first_queries_of_each_task_and_the_whole_pool(tiny):
    queries, candidates = data(tiny, validation_queries=2).val_dataloader()
    assert (len(queries.dataset), len(candidates.dataset)) == (8, 72)
    reader = DataDirectory(tiny.data).queries("val")
    first = [reader.ids[np.flatnonzero(reader.task == task)[:2]].tolist() for task in np.unique(reader.task)]
    assert sorted(queries.dataset.ids.tolist()) == sorted(chain.from_iterable(first))
    assert len(data(tiny).val_dataloader()[0].dataset) == 16
    assert len(data(tiny, validation_queries=2).test_dataloader()[0].dataset) == 16


@pytest.mark.parametrize(
    ("rows", "size", "world"), [(10, 3, 1), (10, 3, 2), (10, 64, 4), (3, 64, 3), (2, 64, 4), (1, 1, 5)]
)
def test_every_process_gets_as_many_batches_and_every_row_is_embedded(rows, size, world):
    cost = np.random.default_rng(0).integers(0, 9, rows)
    shares = [list(SortedBatches(cost, size, rank=rank, world=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert all(shares)
    seen = [row for share in shares for batch in share for row in batch]
    assert set(seen) == set(range(rows))
    assert len(seen) < max(rows, world) + world * min(size, -(-rows // world))
    assert all(len(batch) <= size for share in shares for batch in share)


def test_a_batch_ends_where_its_tokens_would_pass_the_budget():
    tokens = np.array([5, 1, 4, 20, 2, 3])
    batches = list(SortedBatches(tokens, 3, tokens=tokens, budget=8))
    assert batches == [[3], [0], [2, 5], [4, 1]]
    assert list(SortedBatches(tokens, 2, tokens=tokens, budget=100)) == [[3, 0], [2, 5], [4, 1]]


def test_nothing_missing_is_no_batch_at_all():
    missing = np.zeros(0, dtype=np.int64)
    assert [list(SortedBatches(np.ones(5), 2, missing=missing, rank=rank, world=2)) for rank in (0, 1)] == [[], []]


def test_the_longest_rows_are_embedded_first():
    cost = np.array([3, 9, 1, 7])
    assert list(SortedBatches(cost, 2)) == [[1, 3], [0, 2]]


def test_all_wordings_of_a_query_are_embedded_under_the_policy_all(tiny):
    rows = data(tiny, prompts="all").rows_to_encode(Side.QUERY, "val")
    first = [rows[index][1].instruction for index in range(4)]
    assert len(rows) == 4 * 16
    assert len(set(first)) == 4
    assert len({rows[index][1].text or rows[index][1].image for index in range(4)}) == 1


def test_a_module_without_an_encoder_says_how_to_connect_one(tiny):
    with pytest.raises(InputError, match=r"datamodule\.connect"):
        RetrievalData(tiny.data, batch_size=8).train_dataloader()


def test_a_wrong_collection_or_prompt_policy_is_named(tiny):
    with pytest.raises(InputError, match="nowhere/test"):
        collections("nowhere/test")
    with pytest.raises(ValueError, match="loud"):
        RetrievalData(tiny.data, prompts="loud")  # type: ignore[arg-type]


def test_a_batch_larger_than_the_split_is_named(tiny):
    with pytest.raises(InputError, match="40 training queries do not fill one batch of 41"):
        data(tiny, batch_size=41).train_dataloader()

"""What a reranker learns from: a query, one of its positives, and documents that do not answer it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from lit_mmembed.data.datamodule import ResumableLoader
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.generation import Sources, limited
from lit_mmembed.data.negatives import MinedNegatives
from lit_mmembed.data.order import BatchOrder, EpochSampler, place_of, position_of
from lit_mmembed.data.triplets import Draw, Negatives
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.llava import LlavaPrompts, LlavaReranker
from lit_mmembed.reranking.prompts import Questions, reranking_question
from lit_mmembed.types import Sample

ATTEMPTS = 20
"""Draws of one negative, before what was drawn before is enough."""


class QuestionLists:
    """A map-style dataset over queries, indexed by `Draw`: the positive's question first, then the negatives'.

    Each draw comes from (seed, epoch, position) alone. A query for which nothing was mined gets documents of its task's
    local pool.

    Args:
        sources: The split's queries and documents.
        pools: Rows of each task's local pool.
        negatives: Mined negatives; None draws from the local pool alone.
        count: Negatives per query, all different; fewer where there are no more.
        mined: At most so many of them are mined.
        seed: Of every draw.
    """

    def __init__(
        self,
        sources: Sources,
        pools: dict[str, np.ndarray],
        negatives: Negatives | None,
        *,
        count: int,
        mined: int,
        seed: int,
    ) -> None:
        self.sources = sources
        self.pools = pools
        self.negatives = negatives
        self.count = count
        self.mined = mined
        self.seed = seed

    def __len__(self) -> int:
        return len(self.sources.queries)

    def __getitem__(self, draw: Draw) -> Questions:
        epoch, position, row = draw
        generator = np.random.default_rng((self.seed, epoch, position))
        query = self.sources.queries[row]
        if not query.positives:
            raise InputError("a training query without positives", record=query.id, fix="remove it from the split")
        task = self.sources.tasks[int(self.sources.queries.task[row])]
        positive = query.positives[int(generator.integers(len(query.positives)))]
        drawn = self._drawn(query, task.name, generator)
        documents = [self.sources.candidates.by_id(did) for did in (positive, *drawn)]
        asked = tuple(reranking_question(task, query, document).prompt for document in documents)
        return Questions(query.id, asked, (True, *(False for _ in drawn)))

    def _drawn(self, query: Sample, task: str, generator: np.random.Generator) -> list[str]:
        """Return ids of negatives: mined ones, and where there are too few, of the local pool."""
        found: dict[str, None] = {}
        for _ in range(ATTEMPTS * self.mined if self.negatives else 0):
            did = self.negatives.draw(query, generator) if self.negatives else None
            if did is None or len(found) == self.mined:
                break
            found[did] = None
        pool = self.pools[task]
        for row in generator.integers(len(pool), size=ATTEMPTS * self.count) if len(pool) else []:
            if len(found) == self.count:
                break
            did = self.sources.candidates.key(int(pool[int(row)]))
            if did not in query.positives:
                found[did] = None
        if not found:
            raise InputError(f"the pool of {task} has nothing but positives", record=query.id, fix="add documents")
        if wrong := [did for did in found if did in query.positives]:
            record = f"query {query.id}, document {wrong[0]}"
            raise InputError("is positive and negative at once", record=record, fix="mine again with this data")
        return list(found)


class RerankingData(lightning.LightningDataModule):
    """Batches of question lists from a data directory (`mmembed shard`).

    Args:
        path: The data directory.
        negatives: NEGATIVES.parquet of `mmembed mine`; None: documents of the task's local pool.
        negatives_per_query: Documents that do not answer, beside the one that does.
        mined_per_query: At most so many of them are mined, the others of the task's local pool; None: all.
        batch_size: Queries per optimizer step, over all processes.
        validation_queries: At most this many queries per task in validation; None takes all.
        seed: Seed of the order and of every draw. The command line sets it to `seed_everything`.
    """

    def __init__(
        self,
        path: Path,
        *,
        negatives: Path | None = None,
        negatives_per_query: int = 7,
        mined_per_query: int | None = None,
        batch_size: int = 8,
        validation_queries: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if negatives_per_query < 1:
            raise InputError(f"{negatives_per_query} negatives per query are too few", fix="give at least 1")
        if mined_per_query is not None and not 0 <= mined_per_query <= negatives_per_query:
            problem = f"{mined_per_query} mined negatives of {negatives_per_query} per query"
            raise InputError(problem, fix="give 0 to negatives_per_query")
        self.path = Path(path)
        self.negatives = negatives
        self.negatives_per_query = negatives_per_query
        self.mined_per_query = negatives_per_query if mined_per_query is None else mined_per_query
        self.batch_size = batch_size
        self.validation_queries = validation_queries
        self.seed = seed
        self._reranker: LlavaReranker | None = None

    def connect(self, reranker: LlavaReranker) -> None:
        """Give the model, which tokenizes questions."""
        self._reranker = reranker

    @cached_property
    def directory(self) -> DataDirectory:
        """The data directory, opened once."""
        return DataDirectory(self.path)

    def train_dataloader(self) -> DataLoader:
        """Training batches, from the batch that the trainer's counters name on."""
        sources = Sources(self.directory, "train")
        negatives = MinedNegatives(self.negatives) if self.negatives else None
        if negatives:
            negatives.check(sources.queries, sources.candidates, self.directory.qrels_path("train"))
        order = BatchOrder(np.asarray(sources.queries.task), batch_size=self.batch_size, seed=self.seed)
        rank, world = place_of(self.trainer)
        sampler = EpochSampler(order, rank=rank, world=world)
        sampler.resume(*position_of(self.trainer, order.batches()))
        return ResumableLoader(
            self._lists(sources, "train", negatives),  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=self._prepared,
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Lists with negatives of the local pool for the validation split's queries; process r of W takes each W-th."""
        if "val" not in self.directory.splits:
            return []
        rank, world = place_of(self.trainer)
        sources = Sources(self.directory, "val")
        rows = limited(sources, np.arange(len(sources.queries)), self.validation_queries)[rank::world]
        lists = self._lists(sources, "val", None)
        drawn = [lists[0, row, row] for row in rows]
        return DataLoader(drawn, batch_size=self.batch_size, collate_fn=self._prepared)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave questions where they are: the model puts what it needs on its device."""
        return batch

    def _lists(self, sources: Sources, split: str, negatives: Negatives | None) -> QuestionLists:
        pools = self.directory.pools(split)
        counts = {"count": self.negatives_per_query, "mined": self.mined_per_query}
        return QuestionLists(sources, pools, negatives, **counts, seed=self.seed)

    def _prepared(self, lists: Sequence[Questions]) -> list[LlavaPrompts]:
        if self._reranker is None:
            raise InputError("no model is connected", fix="call datamodule.connect(module.reranker) first")
        return [self._reranker.prepare(questions) for questions in lists]

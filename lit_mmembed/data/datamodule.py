"""The LightningDataModule: training triplets in a reproducible order, and what is embedded for validation, search."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
from torch.utils.data import DataLoader

from lit_mmembed.data.collate import EncodingCollate, Preprocessing, TrainingCollate
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.encoding import RowsToEncode, SortedBatches
from lit_mmembed.data.instructions import Instructions, PromptPolicy
from lit_mmembed.data.mixture import Mixture, shares
from lit_mmembed.data.negatives import MinedNegatives
from lit_mmembed.data.order import EpochSampler, place_of, position_of
from lit_mmembed.data.training_set import SourceSettings, TrainingSet, order_of, settings_of
from lit_mmembed.errors import InputError
from lit_mmembed.types import FOLDERS, Modality, Side

TEXT = Modality.TEXT.code


class ResumableLoader(DataLoader):
    """A DataLoader whose position is its batch sampler's.

    Lightning asks a loader for a state to resume from; ours has none: `RetrievalData.train_dataloader` starts the
    sampler at the batch that the trainer's own counters name, which holds for any number of workers.
    """

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the trainer's counters are the position."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Ignore the state: see the class."""


class RetrievalData(lightning.LightningDataModule):
    """Batches of queries, positives and negatives from a data directory (`mmembed shard`).

    Call `connect(encoder.preprocess)` before use; the command line does.

    Args:
        path: The data directory.
        batch_size: Queries per optimizer step, over all processes.
        mixing: `mixed`: every batch is drawn from all tasks; `one_task`: each batch has one task.
        prompts: Which of a task's wordings a query carries: `first`, `random`, `all` (training: drawn at random;
            encoding: every wording, scores averaged) or `none`.
        negatives: A NEGATIVES.parquet of `mmembed mine`, or `own`: those of the data itself (M-BEIR's neg_cand_list,
            Tevatron's); None trains with in-batch negatives only (M_rand), and so does `in_batch`, beside sources of
            a mixture that have some.
        when_empty: What happens when the drawn kind of negative is empty for a query: `other` draws the other kind,
            `in_batch` adds none.
        kinds: Train on these kinds of negatives only, e.g. [unsatisfying]; None takes all that the file has.
        mixture: Further data directories to train on: the continual stage (section 4.1.2). Validation, mining and
            prediction stay with `path`.
        workers: DataLoader worker processes.
        encode_rows: Rows per batch when embedding, at most.
        encode_tokens: Tokens per batch when embedding, images expanded; None only counts rows. Rows are sorted by
            modality and length, so a batch of short ones has many.
        validation_queries: At most this many queries per task in validation; None takes all.
        predict: What `mmembed predict` embeds: "candidates/test", "queries/test", or "test" for both.
        seed: Seed of the order and of every draw. The command line sets it to `seed_everything`.
        on_bad_sample: `raise`, or `skip`: a damaged sample is listed and another takes its place.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch_size: int = 128,
        mixing: Literal["mixed", "one_task"] = "mixed",
        prompts: Literal["first", "random", "all", "none"] = "first",
        negatives: Path | None = None,
        when_empty: Literal["other", "in_batch"] = "other",
        kinds: list[str] | None = None,
        mixture: Mixture | None = None,
        workers: int = 0,
        encode_rows: int = 256,
        encode_tokens: int | None = None,
        validation_queries: int | None = None,
        predict: str = "candidates/test",
        seed: int = 0,
        on_bad_sample: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.batch_size = batch_size
        self.mixing = mixing
        self.prompts = PromptPolicy(prompts)
        self.negatives = negatives
        self.when_empty = when_empty
        self.kinds = None if kinds is None else tuple(kinds)
        self.mixture = mixture
        self.workers = workers
        self.encode_rows = encode_rows
        self.encode_tokens = encode_tokens
        self.validation_queries = validation_queries
        self.predict = predict
        self.seed = seed
        self.on_bad_sample = on_bad_sample
        self._preprocess: Preprocessing | None = None
        self._training: TrainingSet | None = None
        self.left_to_encode: Callable[[RowsToEncode, str], np.ndarray] | None = None
        """What `predict` still has to embed of a split's collection: rows [m]. None: all of it."""

    def connect(self, preprocess: Preprocessing) -> None:
        """Give the encoder's `preprocess` to the collators: the one tie between model and data."""
        self._preprocess = preprocess

    @property
    def preprocess(self) -> Preprocessing:
        """The connected `preprocess`."""
        if self._preprocess is None:
            raise InputError("no encoder is connected", fix="call datamodule.connect(model.encoder.preprocess) first")
        return self._preprocess

    @cached_property
    def directory(self) -> DataDirectory:
        """The data directory, opened once."""
        return DataDirectory(self.path, on_bad_sample=self.on_bad_sample)

    @cached_property
    def instructions(self) -> Instructions | None:
        """The directory's instruction file, if it has one."""
        path = self.directory.instructions_path
        return Instructions.load(path) if path else None

    def rows_to_encode(self, side: Side, split: str, *, subset: np.ndarray | None = None) -> RowsToEncode:
        """What embedding one side of a split means under this module's prompt policy."""
        reader = self.directory.queries(split) if side is Side.QUERY else self.directory.candidates(split)
        return RowsToEncode(
            reader,
            side,
            tasks=self.directory.tasks,
            instructions=self.instructions,
            policy=self.prompts,
            seed=self.seed,
            subset=subset,
        )

    def encoding_loader(
        self, rows: RowsToEncode, *, missing: np.ndarray | None = None, rank: int = 0, world: int = 1
    ) -> DataLoader:
        """A loader of EncodeBatch over `rows`; process `rank` of `world` takes its share."""
        tokens = None
        if self.encode_tokens:
            tokens = self.preprocess.lengths(rows.characters, rows.modality != TEXT, rows.side)
        sampler = SortedBatches(
            rows.cost,
            self.encode_rows,
            missing=missing,
            rank=rank,
            world=world,
            tokens=tokens,
            budget=self.encode_tokens,
        )
        return DataLoader(
            rows,  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=EncodingCollate(self.preprocess),
            num_workers=self.workers,
        )

    def train_dataloader(self) -> DataLoader:
        """Training batches, from the batch that the trainer's counters name on."""
        self._training = self.training_set()
        self._training.check(self.preprocess)
        order = order_of(self._training, self.mixture, batch_size=self.batch_size, seed=self.seed, mixing=self.mixing)
        rank, world = place_of(self.trainer)
        sampler = EpochSampler(order, rank=rank, world=world)
        sampler.resume(*position_of(self.trainer, order.batches()))
        return ResumableLoader(
            self._training,  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=TrainingCollate(self.preprocess),
            num_workers=self.workers,
            persistent_workers=False,
        )

    def training_set(self) -> TrainingSet:
        """What training draws from, all sources of the mixture together."""
        negatives = None if self.negatives is None else str(self.negatives)
        main = SourceSettings(self.directory, negatives, self.when_empty, self.kinds, self.prompts, None, None)
        return TrainingSet(settings_of(main, self.mixture), seed=self.seed, on_bad_sample=self.on_bad_sample)

    def mixture_record(self) -> list[dict[str, Any]] | None:
        """The sources of the mixture with their shares and hashes; None without one."""
        if self.mixture is None:
            return None
        training = self._training or self.training_set()
        return training.record(shares(self.mixture, [len(source.rows) for source in training.drawn()]))

    def use_negatives(self, path: Path) -> None:
        """Train on with other negatives of `path`, from the next epoch's iterator on."""
        self.negatives = path
        if self._training is not None:
            self._training.parts[0].negatives = MinedNegatives(path, when_empty=self.when_empty, kinds=self.kinds)

    def val_dataloader(self) -> list[DataLoader]:
        """Queries and the global pool of the validation split."""
        return self._evaluation_loaders("val")

    def test_dataloader(self) -> list[DataLoader]:
        """Queries and the global pool of the test split."""
        return self._evaluation_loaders("test")

    def predict_dataloader(self) -> list[DataLoader]:
        """The collections that `predict` names."""
        rank, world = place_of(self.trainer)
        loaders = []
        for side, split in collections(self.predict):
            rows = self.rows_to_encode(side, split)
            missing = self.left_to_encode(rows, split) if self.left_to_encode else None
            loaders.append(self.encoding_loader(rows, missing=missing, rank=rank, world=world))
        return loaders

    def validation_rows(self, split: str) -> np.ndarray:
        """Rows of the queries that validation uses: all, or the first `validation_queries` of each task."""
        task = np.asarray(self.directory.queries(split).task)
        if self.validation_queries is None or split != "val":
            return np.arange(len(task))
        kept = [np.flatnonzero(task == index)[: self.validation_queries] for index in np.unique(task)]
        return np.sort(np.concatenate(kept))

    def _evaluation_loaders(self, split: str) -> list[DataLoader]:
        if split not in self.directory.splits:
            return []
        rank, world = place_of(self.trainer)
        queries = self.rows_to_encode(Side.QUERY, split, subset=self.validation_rows(split))
        candidates = self.rows_to_encode(Side.CANDIDATE, split)
        return [self.encoding_loader(rows, rank=rank, world=world) for rows in (queries, candidates)]


def collections(name: str) -> list[tuple[Side, str]]:
    """What a name stands for: "candidates/test" one side of a split, "test" both, queries first.

    Raises:
        InputError: the name is of another form.
    """
    folder, slash, split = name.rpartition("/")
    named = [side for side, own in FOLDERS.items() if folder == own or not slash]
    if not named or not split:
        raise InputError(f"no such collection: {name!r}", fix='write "queries/SPLIT", "candidates/SPLIT" or "SPLIT"')
    return [(side, split) for side in named]

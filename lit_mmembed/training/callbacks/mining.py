"""Mines hard negatives with the model that has just been trained (section 4.1.1): after a stage or every N epochs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import lightning
import torch
from lightning.pytorch import Callback, Trainer

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.labels import read_candidates, read_queries
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.files import read_json, write_json
from lit_mmembed.mining.keeping import read_kept
from lit_mmembed.mining.miner import KEEP_KINDS, mine, rules_applied
from lit_mmembed.mining.rules import NegativeRule
from lit_mmembed.progress import progress
from lit_mmembed.retrieval.pools import is_ranking_of, search_identity, search_local_pools
from lit_mmembed.retrieval.search import search
from lit_mmembed.retrieval.store import Store
from lit_mmembed.training.encoding import encode_collection
from lit_mmembed.training.sharding import whole_weights
from lit_mmembed.training.waiting import first_alone
from lit_mmembed.types import FOLDERS, Side

NEGATIVES_FILE = "negatives.parquet"
STATISTICS_FILE = "statistics.json"


class MineNegatives(Callback):
    """Embeds the training queries and their pool, searches, applies the rules and writes `negatives.parquet`.

    The same as `mmembed encode`, `search` and `mine` by hand, with the same files in between, so a run killed here
    goes on where it was.

    Args:
        folder: The run folder; `negatives.parquet`, `statistics.json` and `mining/` (stores, ranking) are made there.
        depth: Documents retrieved per query (the paper: 50).
        k_prime: Right-modality documents below this rank are negatives (the paper: 45).
        split: The split whose queries are mined, over its own pool.
        every_n_epochs: Also mine during training and train on with the new negatives; None mines at the end only.
        rules: Other rules than the paper's two, each by its `class_path` (lit_mmembed.mining.rules).
        keep: An older `negatives.parquet` of the same data, whose rows of `keep_kinds` stay (section 4.1.2).
        keep_kinds: Kinds that are kept and not mined again.
        pool: `global`, or `local`: each task's queries over its own pool.
        index: `exact` (torch) or `faiss`.
        keep_stores: Keep the embeddings after mining.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        depth: int = 50,
        k_prime: int = 45,
        split: str = "train",
        every_n_epochs: int | None = None,
        rules: list[NegativeRule] | None = None,
        keep: Path | None = None,
        keep_kinds: Sequence[str] = KEEP_KINDS,
        pool: Literal["global", "local"] = "global",
        index: Literal["exact", "faiss"] = "exact",
        keep_stores: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.depth = depth
        self.k_prime = k_prime
        self.split = split
        self.every_n_epochs = every_n_epochs
        self.rules = rules
        self.keep = keep
        self.keep_kinds = tuple(keep_kinds)
        self.pool = pool
        self.index = index
        self.keep_stores = keep_stores
        self._negatives: Path | None = None
        self._data: RetrievalData | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Mine again and switch the training data to the new negatives, when asked to."""
        epoch = trainer.current_epoch + 1
        if self.every_n_epochs is None or epoch % self.every_n_epochs or epoch == trainer.max_epochs:
            return
        target = self.folder / f"epoch{epoch}"
        self._mine(trainer, pl_module, target)
        self._negatives = target / NEGATIVES_FILE
        cast(RetrievalData, trainer.datamodule).use_negatives(self._negatives)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Any]:
        """Which negatives training goes on with after a resume."""
        return {"negatives": None if self._negatives is None else str(self._negatives)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember them until the data is there; FSDP2 and DeepSpeed restore after `on_fit_start`."""
        self._negatives = Path(state_dict["negatives"]) if state_dict["negatives"] else None
        if self._negatives is not None and self._data is not None:
            self._data.use_negatives(self._negatives)

    def on_fit_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Check before training what is mined with after it; go on with the negatives mined before a resume."""
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        rules_applied(self.rules, kept=self.keep_kinds if self.keep else ())
        if self.keep is not None:
            queries, candidates = self._sides(data)
            read_kept(self.keep, self.keep_kinds, queries=read_queries(queries), candidates=read_candidates(candidates))
        if self._negatives is not None:
            data.use_negatives(self._negatives)
        self._data = data

    def on_fit_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Mine with the final weights."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._mine(trainer, pl_module, self.folder)

    def _mine(self, trainer: Trainer, pl_module: lightning.LightningModule, target: Path) -> None:
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        encoder = cast(Encoder, pl_module.encoder)
        work = target / "mining"
        stores = {Side.QUERY: work / "queries", Side.CANDIDATE: work / "candidates"}
        weights = weights_hash(encoder, whole_weights(encoder))
        _discard_other_weights(work, weights, trainer.is_global_zero)
        trainer.strategy.barrier("mining")
        for side, store in stores.items():
            with progress(f"mining: encode {FOLDERS[side]}", total=len(data.rows_to_encode(side, self.split))) as step:
                encode_collection(
                    encoder,
                    data,
                    store,
                    collection=(side, self.split),
                    weights=weights,
                    device=pl_module.device,
                    place=(trainer.global_rank, trainer.world_size),
                    barrier=lambda: trainer.strategy.barrier("encode"),
                    autocast=trainer.precision_plugin.forward_context(),
                    progress=step if trainer.is_global_zero else None,
                )
        torch.cuda.empty_cache()  # the first process searches on all GPUs; does nothing without one
        first_alone(lambda: self._search_and_mine(target, work, data))
        trainer.strategy.barrier("mined")

    def _search_and_mine(self, target: Path, work: Path, data: RetrievalData) -> None:
        run = self._searched(work, data)
        queries, candidates = self._sides(data)
        mine(
            run=run,
            queries=queries,
            candidates=candidates,
            out=target / NEGATIVES_FILE,
            depth=self.depth,
            k_prime=self.k_prime,
            seed=data.seed,
            rules=self.rules,
            keep=self.keep,
            keep_kinds=self.keep_kinds,
            statistics=target / STATISTICS_FILE,
        )
        if not self.keep_stores:
            shutil.rmtree(work)

    def _searched(self, work: Path, data: RetrievalData) -> Path:
        """Search the stores, unless this was done before; return the ranking."""
        run = work / ("run.parquet" if self.pool == "global" else "run_local.parquet")
        queries, candidates = (work / FOLDERS[side] for side in FOLDERS)
        stores = Store(queries), Store(candidates)
        if is_ranking_of(run, search_identity(*stores, depth=self.depth, index=self.index)):
            return run
        if self.pool == "local":
            pools = data.directory.pools(self.split)
            search_local_pools(*stores, run, pools=pools, depth=self.depth, index=self.index)
            return run
        with progress("mining: search", unit="queries") as step:
            search(queries, candidates, run, depth=self.depth, index=self.index, progress=step)
        return run

    def _sides(self, data: RetrievalData) -> tuple[Path, Path]:
        """The shard sets of the queries that are mined and of their pool."""
        return data.path / "queries" / self.split, data.path / "candidates" / self.split


def _discard_other_weights(work: Path, weights: str, is_first: bool) -> None:
    """Remove what an earlier run with other weights left half done."""
    mark = work / "weights.json"
    if not is_first or (mark.exists() and read_json(mark) == weights):
        return
    shutil.rmtree(work, ignore_errors=True)
    write_json(mark, weights)


def logged_statistics(folder: Path) -> dict[str, Any]:
    """What W&B shows of a mining: `statistics.json` flattened to "mining/TASK/NAME"."""
    content = read_json(folder / STATISTICS_FILE)
    return {
        f"mining/{task}/{name}": value
        for task, row in content.get("tasks", content).items()
        if isinstance(row, dict)
        for name, value in row.items()
        if isinstance(value, (int, float))
    }

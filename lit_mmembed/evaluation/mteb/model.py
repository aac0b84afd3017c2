"""An encoder as mteb drives it: its EncoderProtocol for every kind of task, its SearchProtocol for retrieval."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_mmembed.data.rows import GivenRow
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.embedding import Embedding, check_lengths, embed_rows, embed_to_store
from lit_mmembed.evaluation.mteb.prompts import Asked, Prompts
from lit_mmembed.evaluation.mteb.rows import TaskRows, encoded_image, tidy, unreserved
from lit_mmembed.evaluation.mteb.searching import Found, found, rerank
from lit_mmembed.files import content_hash
from lit_mmembed.retrieval.ids import places_in
from lit_mmembed.retrieval.search import search
from lit_mmembed.retrieval.store import Store
from lit_mmembed.types import EncoderRow, Side

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models import ModelMeta
    from mteb.types import PromptType

WINDOW = 4096
"""Rows of a DataLoader that are sorted by length together."""


class MtebRetriever:
    """What `mteb.evaluate` takes as its model.

    mteb prefers its SearchProtocol where a model has it, so a corpus goes to a store on disk row by row, is searched by
    exact search, and a killed evaluation goes on with what the stores hold.

    Args:
        encoder: The model; it is moved to the device and put into evaluation mode.
        folder: Where stores and rankings lie, below `stores/TASK/SPLIT/SUBSET`.
        prompts: Which instruction queries carry.
        embedding: Device, precision, batches.
        weights: The encoder's `weights_hash`, if it is known: it takes a while of a large model.

    Raises:
        InputError: lengths for an encoder that takes none.
    """

    def __init__(
        self,
        encoder: Encoder,
        folder: str | Path,
        *,
        prompts: Prompts | None = None,
        embedding: Embedding | None = None,
        weights: str | None = None,
    ) -> None:
        self.embedding = embedding or Embedding()
        check_lengths(encoder, self.embedding)
        self.encoder = encoder.eval().to(self.embedding.device)
        self.folder = Path(folder)
        self.prompts = prompts or Prompts()
        self.weights = weights or weights_hash(encoder)
        self._corpus: Any = None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides a score beside the weights and the data."""
        own = self.embedding
        autocast = None if own.autocast is None else str(own.autocast).removeprefix("torch.")
        lengths = None if own.lengths is None else list(own.lengths)
        return {"prompts": str(self.prompts.policy), "autocast": autocast, "dtype": own.dtype, "lengths": lengths}

    @property
    def modalities(self) -> list[str]:
        """What the encoder reads, in mteb's words."""
        return ["text"] if getattr(self.encoder.preprocess, "images", True) is None else ["image", "text"]

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """The model to mteb: named after its weights, its revision after all that decides a score."""
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        revision = content_hash({"weights": self.weights, **self.settings})
        described = {
            "name": f"lit_mmembed/{self.weights[:12]}",
            "revision": revision[:12],
            "embed_dim": self.encoder.dimension,
            "modalities": self.modalities,
            "framework": ["PyTorch"],
            "similarity_fn_name": ScoringFunction.COSINE,
            "use_instructions": self.prompts.policy.value != "none",
        }
        return ModelMeta.create_empty(overwrites=described)

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embed a DataLoader's batches ({"text": [...], "image": [...]}): unit vectors [n, D] float32, in its order.

        Documents carry no instruction; queries, and the inputs of tasks that have no sides, carry the task's.

        Raises:
            InputError: a precision is asked for: mteb's quantized outputs are not made here.
        """
        if kwargs.get("precision") not in (None, "float32"):
            raise InputError(f"precision {kwargs['precision']!r} is not made", fix="leave precision out")
        side = Side.CANDIDATE if prompt_type is not None and prompt_type.value == "document" else Side.QUERY
        asked = self.prompts.of(task_metadata) if side is Side.QUERY else Asked(None, None, "none")
        parts, window = [np.zeros((0, self.encoder.dimension), np.float32)], []
        for batch in inputs:
            window += [self._row(record, side, asked) for record in _records(batch)]
            if len(window) >= WINDOW:
                parts.append(embed_rows(self.encoder, window, self.embedding))
                window = []
        return np.concatenate([*parts, embed_rows(self.encoder, window, self.embedding)])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine similarities [n1, n2] of vectors [n1, D] and [n2, D], or of one vector [D]."""
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Tensor:
        """Cosine similarities [n] of vectors [n, D] and [n, D], row by row."""
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Take a corpus. It is embedded by `search`, which knows whether all of it is needed."""
        self._corpus = corpus

    def search(
        self,
        queries: Any,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> Found:
        """Find the best documents of each query; with `top_ranked`, order those that it gives for each.

        Raises:
            InputError: nothing was indexed; a document to rerank is not in the corpus.
        """
        if self._corpus is None:
            raise InputError("no corpus is indexed", fix="call index before search")
        folder = self.task_folder(task_metadata) / hf_split / hf_subset
        rows = None if top_ranked is None else _wanted(queries, self._corpus, top_ranked)
        query_store = self._store(queries, Side.QUERY, task_metadata, folder=folder)
        pool = self._store(self._corpus, Side.CANDIDATE, task_metadata, folder=folder, rows=rows)
        self._corpus = None
        if top_ranked is not None:
            return rerank(query_store, pool, top_ranked, top_k=top_k)
        run, device = folder / "run.parquet", self.embedding.device
        return found(search(query_store.path, pool.path, run, depth=top_k, device=device))

    def task_folder(self, task_metadata: TaskMetadata) -> Path:
        """Where a task's stores lie."""
        return self.folder / "stores" / str(task_metadata.name)

    def forget(self, task_metadata: TaskMetadata) -> None:
        """Remove a task's stores and rankings."""
        shutil.rmtree(self.task_folder(task_metadata), ignore_errors=True)

    def _row(self, record: Mapping[str, Any], side: Side, asked: Asked) -> EncoderRow:
        reserved = getattr(self.encoder.preprocess, "reserved", None)
        text = unreserved(tidy(str(record.get("text") or "")), reserved)
        row = GivenRow(text, encoded_image(record.get("image"))).load(side, asked.instruction, asked.task)
        return EncoderRow(row.text, row.image, side, row.instruction, row.task, self.embedding.length(side))

    def _store(
        self, table: Any, side: Side, task_metadata: TaskMetadata, *, folder: Path, rows: np.ndarray | None = None
    ) -> Store:
        from mteb.types import PromptType

        prompt_type = PromptType.query if side is Side.QUERY else PromptType.document
        asked = self.prompts.of(task_metadata) if side is Side.QUERY else None
        task_rows = TaskRows(
            table,
            side,
            task_metadata.get_modalities(prompt_type),
            asked=asked,
            rows=rows,
            length=self.embedding.length(side),
            reserved=getattr(self.encoder.preprocess, "reserved", None),
            verbatim=getattr(task_metadata, "verbatim", False),
        )
        manifest = {
            "weights_hash": self.weights,
            "data_hash": content_hash([task_metadata.dataset, table._fingerprint]),
            "side": str(side),
            "prompts": None if asked is None else f"{self.prompts.policy}: {asked.instruction}",
            "lengths": self.settings["lengths"],
            "precision": self.settings["autocast"],
            "rows": None if rows is None else content_hash(rows.tolist()),
        }
        name = f"{side}-{content_hash([manifest, self.embedding.dtype])[:12]}"
        what = f"encode {side} rows of {task_metadata.name}"
        return embed_to_store(
            self.encoder, task_rows, folder / name, embedding=self.embedding, manifest=manifest, what=what
        )


def _records(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A batch's rows; images alone, or texts alone, or both."""
    columns = {name: list(batch[name]) for name in ("text", "image") if name in batch}
    if not columns:
        raise InputError(f"a batch has the columns {', '.join(batch)}", fix="give text, image or both")
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _wanted(queries: Any, corpus: Any, top_ranked: Mapping[str, Sequence[str]]) -> np.ndarray:
    """[m] rows of the corpus that are to be reranked for some query."""
    named = sorted({did for qid in queries["id"] for did in top_ranked.get(qid, ())})
    rows = places_in(named, list(corpus["id"]))
    return np.sort(rows[rows >= 0])


def _unit(embeddings: Any) -> Tensor:
    return F.normalize(torch.as_tensor(embeddings).float(), dim=-1)

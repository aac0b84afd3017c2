"""The nouns of the project. Nothing here computes more than a name; nothing heavy is imported.

Shapes: B queries, N documents of a batch, P positives of a query (padded), Q queries of a run, R rows of a ranking,
D documents of a pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

Features = dict[str, "Tensor"]
"""What an encoder's `preprocess` makes of a list of rows and its `forward` takes: named tensors."""


class Modality(StrEnum):
    """What a query or a document is made of, in M-BEIR's spelling."""

    TEXT = "text"
    IMAGE = "image"
    IMAGE_TEXT = "image,text"

    @classmethod
    def parse(cls, spelling: str) -> Modality:
        """Read a modality in either order ("text,image" is "image,text"); InputError for anything else."""
        parts = sorted(part.strip() for part in str(spelling).split(","))
        try:
            return cls(",".join(parts))
        except ValueError:
            raise InputError(f"modality {spelling!r} is unknown", fix='write "text", "image" or "image,text"') from None

    @classmethod
    def of(cls, *, text: bool, image: bool) -> Modality:
        """Name the modality of something that has these parts; InputError when it has neither."""
        if text and image:
            return cls.IMAGE_TEXT
        if image:
            return cls.IMAGE
        if text:
            return cls.TEXT
        raise InputError("has neither text nor image", fix="give it a text, an image or both")

    @property
    def code(self) -> int:
        """A small integer for arrays: 0 text, 1 image, 2 image,text."""
        return MODALITIES.index(self)


MODALITIES = tuple(Modality)


class Side(StrEnum):
    """Which tower a row enters: prompts and lengths differ between the two."""

    QUERY = "query"
    CANDIDATE = "candidate"


FOLDERS = {Side.QUERY: "queries", Side.CANDIDATE: "candidates"}
"""What the two sides are called in data directories and beside each other as stores."""


@dataclass(frozen=True, slots=True)
class Task:
    """One task/dataset pair: what is asked, with what, and how it is scored."""

    dataset: str
    """The dataset's name as in M-BEIR's instruction file, e.g. "VisualNews"."""
    dataset_id: int
    """M-BEIR's dataset number, the part of a qid or did before the colon."""
    mbeir_id: int
    """M-BEIR's task number, 0 to 8."""
    paper_id: int
    """The paper's task number, 1 to 8 (9 for text retrieval)."""
    query_modality: Modality
    candidate_modality: Modality
    """The modality that the user asks for."""
    cutoff: int = 5
    """k of the headline hit@k."""
    domain: str = ""

    @property
    def name(self) -> str:
        """M-BEIR's evaluation name, e.g. "visualnews_task0"."""
        return f"{self.dataset.lower()}_task{self.mbeir_id}"

    @property
    def label(self) -> str:
        """The paper's row label, e.g. "1/VisualNews"."""
        return f"{self.paper_id}/{self.dataset}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A query or a document as it lies in a shard."""

    id: str
    text: str | None = None
    image: bytes | None = None
    """The encoded image file (JPEG, PNG, WebP), never pixels."""
    modality: Modality = Modality.TEXT
    task: str | None = None
    """Queries only: the name of its Task."""
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    """The dataset's own negatives (M-BEIR's neg_cand_list); unused by default."""
    source: str | None = None
    """Where it comes from: M-BEIR's src_content, or an image's origin and licence."""


@dataclass(frozen=True, slots=True)
class EncoderRow:
    """One row that an encoder's `preprocess` turns into features."""

    text: str | None
    image: bytes | None
    side: Side
    instruction: str | None = None
    """The wording chosen by the prompt policy; None for documents and for runs without instructions."""
    task: Task | None = None
    """Queries only: prompts that depend on the task (Table 12) look it up here."""
    length: int | None = None
    """Tokens at most, an image counting as one; None: the encoder's own limit for the side."""


@dataclass
class Batch:
    """What the contrastive step takes. Documents lie positives first, then mined negatives."""

    query: Features
    document: Features
    positive: Tensor
    """[B] int64: where each query's drawn positive lies in `document`."""
    document_ids: Tensor
    """[N] int64: `stable_id` of each document."""
    known_positives: Tensor
    """[B, P] int64: `stable_id` of every labelled positive of each query, padded with NO_ID."""
    task: Tensor
    """[B] int64: index into the data directory's tasks."""


@dataclass
class EncodeBatch:
    """What encoding takes: features and the rows of the store that they belong to."""

    features: Features
    rows: Tensor
    """[n] int64."""


NO_ID = -1
"""Pads `Batch.known_positives`; no `stable_id` is negative."""


def stable_id(name: str) -> int:
    """Hash an id to 63 bits, the same in every process and run."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Ranking:
    """The best documents of each query, best first; ties by score, then by document id.

    Rows of query q are `offsets[q]:offsets[q + 1]`.
    """

    query_ids: np.ndarray
    """[Q] object array of str."""
    document_ids: np.ndarray
    """[D] object array of str: the vocabulary that `document` points into."""
    document: np.ndarray
    """[R] int32 or int64."""
    score: np.ndarray
    """[R] float32."""
    offsets: np.ndarray
    """[Q + 1] int64."""


class Negative(NamedTuple):
    """One mined negative: a row of NEGATIVES.parquet."""

    qid: str
    did: str
    kind: str
    """`wrong_modality` (C1 of section 4.1.1), `unsatisfying` (C2), `positive_aware` (below the positive's score by a
    margin or a share) or `random` (the control)."""
    rank: int
    """From 1, in the mined ranking; 0 for `random`."""
    score: float


@dataclass(frozen=True, slots=True)
class Score:
    """One number of a result file, with what it was measured on."""

    metric: str
    """"hit", "recall", "ndcg", "map", "mrr" or "modality_accuracy"."""
    k: int
    value: float
    n: int
    """Number of queries."""
    task: str
    """Task name, or "avg_all", "avg_single_modal", "avg_multi_modal"."""
    dataset: str
    pool: str
    """"global" or "local"."""
    low: float | None = None
    """Lower end of the 95 % bootstrap interval, where one was asked for."""
    high: float | None = None
    record: Mapping[str, object] = field(default_factory=dict)
    """What produced it."""

"""A trained retriever in a Python program: texts, images and both to vectors, and the nearest of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lit_mmembed.data.ahead import prepared_ahead
from lit_mmembed.data.rows import GivenRow, given_rows
from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.bases import Base
from lit_mmembed.encoders.checkpoints import local_folder
from lit_mmembed.encoders.exporting import merge_adapters
from lit_mmembed.encoders.mllm_backbone import DTYPES, DType
from lit_mmembed.encoders.packing import chunks_by_tokens
from lit_mmembed.encoders.pretrained import RECORD_FILE, load_encoder, save_encoder
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.progress import progress as progress_of
from lit_mmembed.retrieval.exact import ExactSearch
from lit_mmembed.types import EncoderRow, Features, Side, Task

BATCH_TOKENS = 16384
HALF = (torch.bfloat16, torch.float16)


class Found(NamedTuple):
    """The best candidates of each query."""

    scores: Tensor
    """[Q, k] float32 cosine similarities, best first; ties by position."""
    positions: Tensor
    """[Q, k] int64 places in the candidates."""


class Retriever:
    """An encoder ready to use.

    Args:
        encoder: The model; it is moved to the device and put into evaluation mode.
        device: `auto` is a GPU where there is one.
        dtype: What matrix products are computed in. None: as the weights where they are half precision, otherwise
            bfloat16 on a GPU and float32 on a CPU (`mmembed encode` takes float32 on both).
        record: What produced the weights; `save_pretrained` writes it.

    Raises:
        InputError: float32 is asked of weights in half precision.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        device: str = "auto",
        dtype: DType | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.encoder = encoder.eval().to(self.device)
        self.dtype = _compute_dtype(encoder, dtype, self.device)
        self._record = dict(record or {})

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        *,
        device: str = "auto",
        dtype: DType | None = None,
        base: Base | None = None,
        allow: tuple[str, ...] = (),
    ) -> Retriever:
        """Load a model folder that `mmembed fit`, `convert` or `merge` wrote.

        Args:
            path_or_name: The folder, or the name of one on the hub.
            device: See the class.
            dtype: See the class.
            base: Where an adapter's checkpoint is, if not where the folder says; see `bases.at_base`.
            allow: Further packages whose classes may be built, e.g. ("my_package.",): building one runs its code.

        Raises:
            InputError: no such folder; damaged weights; an adapter for another checkpoint.
        """
        folder = local_folder(path_or_name)
        encoder = load_encoder(folder, allow=allow, base=base)
        record = folder / RECORD_FILE
        return cls(encoder, device=device, dtype=dtype, record=read_json(record) if record.exists() else None)

    @property
    def dimension(self) -> int:
        """D, the length of a vector."""
        return self.encoder.dimension

    def __repr__(self) -> str:
        backbone = getattr(self.encoder, "backbone", None)
        inner = f"({type(backbone).__name__})" if backbone is not None else ""
        dtype = str(self.dtype).removeprefix("torch.")
        return f"Retriever({type(self.encoder).__name__}{inner}, {self.dimension}, {dtype}, {self.device})"

    def encode_queries(
        self,
        rows: Sequence[Any],
        *,
        instruction: str | Sequence[str | None] | None = None,
        task: Task | str | None = None,
        batch_tokens: int = BATCH_TOKENS,
        progress: bool = False,
    ) -> Tensor:
        """Embed queries.

        Args:
            rows: Each {"text": ..., "image": ...} with either or both, or a string, or an image alone; an image is one
                of Pillow, a path or the bytes of a file.
            instruction: What is looked for, the same for all or one for each row.
            task: For prompts that depend on it (Table 12): a task, or M-BEIR's name of one ("cirr_task7").
            batch_tokens: Tokens of a batch at most, images included, as estimated.
            progress: Show it on stderr.

        Returns:
            Unit vectors [n, D], float32 on the CPU, in the order of the rows.

        Raises:
            InputError: naming the row by its place, from 0.
        """
        given = given_rows(rows)
        instructions = _per_row(instruction, len(given))
        found = task_by_name(task) if isinstance(task, str) else task
        return self._encode(given, Side.QUERY, instructions, found, batch_tokens, progress)

    def encode_candidates(
        self, rows: Sequence[Any], *, batch_tokens: int = BATCH_TOKENS, progress: bool = False
    ) -> Tensor:
        """Embed candidates: see `encode_queries`. Unit vectors [n, D], float32 on the CPU."""
        given = given_rows(rows)
        return self._encode(given, Side.CANDIDATE, [None] * len(given), None, batch_tokens, progress)

    def similarity(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Return cosine similarities [Q, N] of vectors [Q, D] and [N, D], float32."""
        return F.normalize(queries.float(), dim=-1) @ F.normalize(candidates.float(), dim=-1).T

    def search(self, queries: Tensor, candidates: Tensor, k: int = 10) -> Found:
        """Return the k candidates most similar to each query, by exact search; all of them where they are fewer."""
        pool_ND = F.normalize(candidates.float(), dim=-1).cpu().numpy()
        index = ExactSearch(pool_ND, tie_rank=np.arange(len(pool_ND)), device=str(self.device))
        scores, positions = index.search(F.normalize(queries.float(), dim=-1).cpu().numpy(), k)
        return Found(torch.from_numpy(scores), torch.from_numpy(positions))

    def merge(self) -> Retriever:
        """Add the adapters to the weights, in place; it is saved whole from then on. Returns itself.

        Raises:
            InputError: it is no `MllmEncoder`.
        """
        merge_adapters(self.encoder)
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder, replacing an older one: what `from_pretrained` and the command line take."""
        save_encoder(self.encoder, folder, record=self._record)

    @torch.inference_mode()
    def _encode(
        self,
        given: list[GivenRow],
        side: Side,
        instructions: list[str | None],
        task: Task | None,
        batch_tokens: int,
        progress: bool,
    ) -> Tensor:
        def prepared(places: list[int]) -> Features:
            return _features(self.encoder, [given[i].load(side, instructions[i], task) for i in places], places)

        with torch.inference_mode(False):
            vectors_nD = torch.empty(len(given), self.dimension)
        batches = self._batches(given, side, instructions, batch_tokens)
        with progress_of("encode", total=len(given)) if progress else nullcontext() as step, self._autocast():
            for places, features in prepared_ahead(prepared, batches):
                on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in features.items()}
                vectors_nD[places] = self.encoder(on_device).float().cpu()
                if step:
                    step(len(places))
        return vectors_nD

    def _batches(
        self, given: list[GivenRow], side: Side, instructions: list[str | None], batch_tokens: int
    ) -> list[list[int]]:
        characters = [len(row.text or "") + len(asked or "") for row, asked in zip(given, instructions, strict=True)]
        images = np.array([row.image is not None for row in given], dtype=bool)
        lengths = self.encoder.preprocess.lengths(np.array(characters, dtype=np.int64), images, side)
        return [chunk.tolist() for chunk in chunks_by_tokens(torch.from_numpy(lengths), batch_tokens)]

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=self.dtype) if self.dtype in HALF else nullcontext()


def _compute_dtype(encoder: Encoder, asked: str | None, device: torch.device) -> torch.dtype:
    half = next((p.dtype for p in encoder.parameters() if p.dtype in HALF), None)
    if asked is None:
        return half or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    if asked not in DTYPES:
        raise InputError(f"dtype {asked!r} is unknown", fix=f"take one of {', '.join(DTYPES)}")
    if half and DTYPES[asked] not in HALF:
        raise InputError(f"the weights are {half}, not float32".replace("torch.", ""), fix="leave dtype out")
    return DTYPES[asked]


def _per_row(instruction: str | Sequence[str | None] | None, rows: int) -> list[str | None]:
    if instruction is None or isinstance(instruction, str):
        return [instruction] * rows
    if len(instruction) != rows:
        fix = "give one string for all, or one (or None) for each row"
        raise InputError(f"there are {len(instruction)} instructions for {rows} rows", fix=fix)
    return list(instruction)


def _features(encoder: Encoder, rows: list[EncoderRow], places: list[int]) -> Features:
    """Preprocess; an error names the row by its place."""
    try:
        return encoder.preprocess(rows)
    except InputError:
        for place, row in zip(places, rows, strict=True):
            try:
                encoder.preprocess([row])
            except InputError as unfit:
                raise InputError(unfit.problem, file=unfit.file, record=f"row {place}", fix=unfit.fix) from None
        raise

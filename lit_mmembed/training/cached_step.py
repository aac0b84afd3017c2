"""The contrastive step in chunks (GradCache, Gao et al., 2021): the loss of the whole batch in the memory of one chunk.

Three passes: embed all chunks without a graph; take the loss of all embeddings and its gradient with respect to them;
embed each chunk again with a graph and push its embeddings' gradients through it. The random state of a chunk's first
pass is set again for its second, so dropout drops the same. What is frozen (a vision tower) is computed once, before.

The parameters' gradients are complete when the loss is returned. It is a scalar whose backward pass only hands them
over, so DDP, DeepSpeed, gradient scaling and accumulation see one ordinary backward pass, with every parameter in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.packing import chunks_by_tokens
from lit_mmembed.losses.gather import exchange, process_count
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.contrastive import contrastive_loss, global_gradients
from lit_mmembed.training.sharding import is_sharded
from lit_mmembed.types import Batch, Features


def cached_loss(encoder: Encoder, loss: InfoNCE, batch: Batch, *, chunk_tokens: int, scale: float = 1.0) -> Tensor:
    """Return the loss of `contrastive_loss`, with its gradients, in chunks of at most `chunk_tokens` tokens.

    Args:
        encoder: Its parameters that require gradients get them.
        loss: Its learned temperature too.
        batch: This process's part of the global batch.
        chunk_tokens: Token budget of a chunk, images expanded; a longer row is a chunk of its own.
        scale: The factor of gradient scaling (fp16) that the backward pass inside is made with; it does not change the
            result.
    """
    sides = [encoder.frozen_part(features) for features in (batch.query, batch.document)]
    chunks = plan_chunks(encoder, sides, chunk_tokens)
    # With several processes all hand their gradients over in one order: ZeRO-2 reduces them as they come, and takes the
    # order to be the same everywhere.
    if len(chunks) == len(sides) and process_count() == 1:
        return contrastive_loss(encoder, loss, Batch(**{**vars(batch), "query": sides[0], "document": sides[1]}))
    parameters = [p for module in (encoder, loss) for p in module.parameters() if p.requires_grad]
    gradients = _Gradients(parameters, sharded=is_sharded(encoder))
    idle = _idle_passes(encoder, chunks)
    vectors, last = _first_pass(encoder, chunks, idle)
    query_BD, document_nD = (
        torch.cat([vectors[i] for i, chunk in enumerate(chunks) if chunk.side == side])[_back(chunks, side)]
        for side in (0, 1)
    )
    learned = [p for p in loss.parameters() if p.requires_grad]
    value, *of_vectors, of_learned = global_gradients(loss, query_BD, document_nD, batch, learned=learned, scale=scale)
    gradients.add(learned, of_learned)
    _second_pass(encoder, chunks, of_vectors, last=last, gradients=gradients)
    for _ in range(idle):
        vectors_again = chunks[0].embedded(encoder)
        gradients.backward(vectors_again, torch.zeros_like(vectors_again))
    return gradients.handed_over(value, scale)


@dataclass
class Chunk:
    """Rows of one side that are embedded together."""

    side: int
    """0 query, 1 document."""
    rows: Tensor
    """[m] int64."""
    source: Features
    """The side's features; those of the rows are taken when they are needed, so that they lie in memory once."""
    whole: bool
    """The rows are all of the side's, in order."""
    state: RandomState | None = None
    """Before the first pass; set again before the second."""

    def embedded(self, encoder: Encoder) -> Tensor:
        """Return the rows' vectors [m, D]."""
        return encoder(self.source if self.whole else encoder.select(self.source, self.rows))

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return next(iter(self.source.values())).device


class RandomState:
    """The state of the random generators that dropout draws from: the CPU's, and the device's."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def set(self) -> None:
        """Go back to it."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self.device)


def plan_chunks(encoder: Encoder, sides: Sequence[Features], chunk_tokens: int) -> list[Chunk]:
    """Cut both sides into chunks of rows of similar length."""
    chunks = []
    for side, features in enumerate(sides):
        costs = encoder.costs(features).cpu()
        if int(costs.sum()) <= chunk_tokens:
            chunks.append(Chunk(side, torch.arange(len(costs)), features, whole=True))
            continue
        chunks += [Chunk(side, rows, features, whole=False) for rows in chunks_by_tokens(costs, chunk_tokens)]
    return chunks


def _back(chunks: Sequence[Chunk], side: int) -> Tensor:
    """Return the permutation that puts a side's concatenated chunks back into the batch's order."""
    return torch.cat([chunk.rows for chunk in chunks if chunk.side == side]).argsort()


def _first_pass(encoder: Encoder, chunks: list[Chunk], idle: int) -> tuple[list[Tensor], Tensor | None]:
    """Return the embeddings of every chunk, and the last chunk's with their graph: it need not be embedded again.

    On sharded parameters no graph is kept: the parameters it refers to are gathered anew for each pass.
    """
    device = chunks[0].device
    vectors = []
    for chunk in chunks[:-1]:
        chunk.state = RandomState(device)
        with torch.no_grad():
            vectors.append(chunk.embedded(encoder))
    torch.clear_autocast_cache()  # before torch 2.10, weights that were cast without a graph are used again without one
    chunks[-1].state = RandomState(device)
    if is_sharded(encoder):
        with torch.no_grad():
            vectors.append(chunks[-1].embedded(encoder))
            for _ in range(idle):
                chunks[0].embedded(encoder)
        torch.clear_autocast_cache()
        return vectors, None
    last = chunks[-1].embedded(encoder)
    return [*vectors, last.detach()], last


def _second_pass(
    encoder: Encoder,
    chunks: Sequence[Chunk],
    of_vectors: Sequence[Tensor],
    *,
    last: Tensor | None,
    gradients: _Gradients,
) -> None:
    device = chunks[0].device
    after = RandomState(device)
    again = list(chunks)
    if last is not None:  # first, while only its graph is there
        chunk = again.pop()
        gradients.backward(last, of_vectors[chunk.side][chunk.rows.to(device)])
        del last
    for chunk in again:
        assert chunk.state is not None
        chunk.state.set()
        gradients.backward(chunk.embedded(encoder), of_vectors[chunk.side][chunk.rows.to(device)])
    after.set()


def _idle_passes(encoder: Encoder, chunks: Sequence[Chunk]) -> int:
    """Return how often a chunk is embedded for nothing: gathering sharded parameters takes all processes each time."""
    if not is_sharded(encoder):
        return 0
    device = chunks[0].device
    return max(exchange(len(chunks), device)) - len(chunks)


class _Gradients:
    """Sums up the parameters' gradients, chunk by chunk, outside of their `.grad`.

    So no hook of DDP or DeepSpeed fires before all of them are there. Sharded parameters (FSDP2) only get gradients
    through `.grad`; they are taken from there.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, sharded: bool) -> None:
        self.parameters = list(parameters)
        self.sharded = sharded
        self._sums: dict[int, Tensor] = {}
        self._before = [p.grad for p in self.parameters]
        if sharded:
            for parameter in self.parameters:
                parameter.grad = None

    def add(self, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
        """Add gradients to the sums of some parameters."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                known = self._sums.get(id(parameter))
                self._sums[id(parameter)] = gradient.contiguous() if known is None else known.add_(gradient)

    def backward(self, vectors: Tensor, of_vectors: Tensor) -> None:
        """Push the gradients of embeddings through their graph, and free it."""
        if self.sharded:
            vectors.backward(of_vectors)
            return
        self.add(self.parameters, torch.autograd.grad(vectors, self.parameters, of_vectors, allow_unused=True))

    def handed_over(self, value: Tensor, scale: float) -> Tensor:
        """Return `value` with a backward pass that gives each parameter its sum."""
        if self.sharded:
            for parameter, before in zip(self.parameters, self._before, strict=True):
                self.add([parameter], [parameter.grad])
                parameter.grad = before
        zeros = (torch.zeros_like(parameter) for parameter in self.parameters)
        sums = [self._sums.get(id(p), zero) for p, zero in zip(self.parameters, zeros, strict=True)]
        if scale != 1.0:
            torch._foreach_div_(sums, scale)
        return _HandOver.apply(value, sums, *self.parameters)


class _HandOver(torch.autograd.Function):
    """The identity on a loss; its backward pass returns gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, of_value: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(gradient * of_value for gradient in gradients)

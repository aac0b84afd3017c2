"""On a small model: the cached step's gradients, its memory as the batch grows, and sentence-transformers beside it."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.models import build, draw_adapters, make_batch
from benchmarks.gpu.steps import autocast, clean, counted, peak_gib, synchronize
from benchmarks.measure import interleaved, ratio
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training import cached_step
from lit_mmembed.training.contrastive import contrastive_loss, global_loss


def gradients(encoder, loss):
    named = [*encoder.named_parameters(), *loss.named_parameters()]
    found = {name: parameter.grad.clone() for name, parameter in named if parameter.grad is not None}
    for _, parameter in named:
        parameter.grad = None
    return found


def differing(one, other):
    """Largest difference between two steps' gradients, relative to each weight's largest."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max() / other[name].abs().max().clamp(min=1e-12)) for name in one)


def uncached(encoder, loss, batch, chunk_tokens):
    """The same chunks in the same order in one graph: what dropout draws is what the cached step must draw twice."""
    sides = [encoder.frozen_part(features) for features in (batch.query, batch.document)]
    chunks = cached_step.plan_chunks(encoder, sides, chunk_tokens)
    vectors = [chunk.embedded(encoder) for chunk in chunks]
    query, document = (
        torch.cat([vectors[i] for i, chunk in enumerate(chunks) if chunk.side == side])[
            cached_step._back(chunks, side).to(vectors[0].device)
        ]
        for side in (0, 1)
    )
    return global_loss(loss, query, document, batch)


def equal_gradients(folder, shape, device, *, queries, chunk_tokens):
    """In fp32: cached beside plain without dropout, and beside the same chunks in one graph with it."""
    for dropout in (0.0, 0.1):
        torch.manual_seed(0)
        encoder = build(folder, shape, device, dtype="float32", lora=Lora(dropout=dropout)).train()
        draw_adapters(encoder)
        loss = InfoNCE(0.05, learn_temperature=True).to(device)
        batch = make_batch(encoder, queries, 1, device=device)
        found = []
        for way in ("cached", "uncached", "plain"):
            torch.manual_seed(7)
            if way == "cached":
                value = cached_step.cached_loss(encoder, loss, batch, chunk_tokens=chunk_tokens)
            elif way == "uncached":
                value = uncached(encoder, loss, batch, chunk_tokens)
            else:
                value = contrastive_loss(encoder, loss, batch)
            value.backward()
            found.append((float(value.detach()), gradients(encoder, loss)))
        cached, same_chunks, plain = found
        figure = {
            "dropout": dropout, "tokens": counted(batch)["tokens"], "chunk_tokens": chunk_tokens,
            "loss": cached[0], "loss same chunks, one graph": same_chunks[0],
            "difference same chunks, one graph": differing(cached[1], same_chunks[1]),
        }  # fmt: skip
        if not dropout:
            figure |= {"loss plain": plain[0], "difference plain": differing(cached[1], plain[1])}
        yield figure


def memory_growth(folder, shape, device, *, batches, chunk_tokens):
    """Peak memory of a cached step as the batch grows; what the batch itself occupies is left out."""
    encoder = build(folder, shape, device, dtype="bfloat16").train()
    loss = InfoNCE(0.02)
    for images in (False, True):
        peaks = []
        for queries in batches:
            batch = make_batch(encoder, queries, device=device, images=images)
            clean()
            before = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
            with autocast(device):
                value = cached_step.cached_loss(encoder, loss, batch, chunk_tokens=chunk_tokens)
            value.backward()
            synchronize()
            peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
            encoder.zero_grad(set_to_none=True)
            peaks.append((peak, peak - before))
            yield {
                "images": images, "queries": queries, "tokens": counted(batch)["tokens"], "chunk_tokens": chunk_tokens,
                "peak_gib": peak_gib(), "above_weights_and_batch_gib": round((peak - before) / 2**30, 3),
                "times_the_smallest_batch": round(peak / peaks[0][0], 3) if peaks[0][0] else None,
                "times_the_smallest_batch_above": round((peak - before) / peaks[0][1], 3) if peaks[0][1] else None,
            }  # fmt: skip
            del batch, value


def beside_sentence_transformers(device, *, queries, chunk_tokens, rounds, **shape):
    """Our cached step and theirs, by rows and by tokens, at equal tokens in a mini-batch, under bf16 autocast.

    Theirs has torch's scaled dot product on padded rows. Gradients are compared in fp32, on a smaller batch.
    """
    from benchmarks import cached_peer

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = cached_peer.both(Path(name), device, **shape)
    batch, columns = cached_peer.batches(min(queries, 256), 4000, device)
    cached_peer.our_step(ours, batch, chunk_tokens // 8)
    cached_peer.their_step(cached_peer.their_loss(theirs, rows=32), columns)
    apart = cached_peer.agreement(ours, theirs)
    batch, columns = cached_peer.batches(queries, 4000, device)
    rows = max(1, chunk_tokens * 2 * queries // counted(batch)["tokens"])
    losses = {
        "theirs by rows": cached_peer.their_loss(theirs, rows=rows),
        "theirs by tokens": cached_peer.their_loss(theirs, rows=rows, tokens=chunk_tokens),
    }

    def own():
        with autocast(device):
            cached_peer.our_step(ours, batch, chunk_tokens)

    def other(loss):
        with autocast(device):
            cached_peer.their_step(loss, columns)

    contenders = {"ours": own} | {label: lambda loss=loss: other(loss) for label, loss in losses.items()}
    peaks = {}
    for label, run in contenders.items():
        clean()
        run()
        peaks[label] = peak_gib()
    seconds = interleaved(contenders, rounds=rounds, warmup=0)
    return {
        "queries": queries, "documents": queries, "tokens": counted(batch)["tokens"], "chunk_tokens": chunk_tokens,
        "tokens_padded": sum(column["input_ids"].numel() for column in columns), "rows_per_mini_batch": rows,
        "gradients_in_fp32_differ_by": apart, "target_at_most": 0.9,
        "times_theirs_by_rows": round(ratio(seconds, "ours", "theirs by rows"), 3),
        "times_theirs_by_tokens": round(ratio(seconds, "ours", "theirs by tokens"), 3),
        "our_seconds": round(statistics.median(seconds["ours"]), 3), "peak_gib": peaks,
    }  # fmt: skip


def exact_search(device, *, count, width, queries, k):
    """Exact search of a pool on the host beside the bare product and top-k of the same tiles."""
    import numpy as np

    from lit_mmembed.retrieval.exact import ExactSearch

    generator = torch.Generator(device).manual_seed(0)
    pool = np.empty((count, width), dtype=np.float16)
    step = 1 << 15
    for start in range(0, count, step):
        rows = torch.randn(min(step, count - start), width, device=device, generator=generator)
        pool[start : start + step] = torch.nn.functional.normalize(rows, dim=1).half().cpu().numpy()
    wanted = torch.nn.functional.normalize(torch.randn(queries, width, device=device, generator=generator), dim=1)
    host = torch.from_numpy(pool)
    index = ExactSearch(pool, tie_rank=np.arange(count), device=device)

    def tiles(resident):
        best = None
        for start in range(0, count, step):
            tile = resident[start : start + step].to(device).float()
            score, row = (wanted @ tile.T).topk(k, dim=1)
            best = (
                [score, row + start]
                if best is None
                else [torch.cat(p, 1) for p in zip(best, (score, row + start), strict=False)]
            )
            kept, place = best[0].topk(k, dim=1)
            best = [kept, best[1].gather(1, place)]
        return best[1].cpu()

    resident = host.to(device)
    contenders = {
        "ours": lambda: index.search(wanted.cpu().numpy(), k)[1],
        "bare, from the host": lambda: tiles(host),
        "bare, on the device": lambda: tiles(resident),
        "copy alone": lambda: [host[start : start + step].to(device).sum() for start in range(0, count, step)],
    }
    same = float((torch.from_numpy(contenders["ours"]()).sort(1).values == tiles(host).sort(1).values).float().mean())
    seconds = interleaved(contenders, rounds=3)
    return {
        "pool": count, "width": width, "queries": queries, "k": k, "same_ids": round(same, 5),
        **{f"seconds {name}": round(statistics.median(values), 3) for name, values in seconds.items()},
        "times_bare_from_the_host": round(ratio(seconds, "ours", "bare, from the host"), 3),
        "times_copy_alone": round(ratio(seconds, "ours", "copy alone"), 3),
    }  # fmt: skip

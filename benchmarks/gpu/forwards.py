"""Forward passes: packed flash attention beside padding, embedding documents, and what a chunk's time goes into."""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager

import torch

from benchmarks.gpu.models import build, documents, draw_adapters, make_batch
from benchmarks.gpu.steps import PEAK, autocast, clean, parts_of, peak_gib, synchronize
from benchmarks.padded import padded_vectors
from lit_mmembed.encoders import packing
from lit_mmembed.encoders.costs import Rows
from lit_mmembed.types import Modality


@contextmanager
def without_flash():
    """Attention by padding queries, keys and values for torch's scaled dot product."""
    before = packing._flash
    packing._flash = lambda: None
    try:
        yield
    finally:
        packing._flash = before


def padded_attention(encoder, features):
    with without_flash():
        return encoder(features)


WAYS = {
    "packed": lambda encoder, features: encoder(features),
    "attention padded": padded_attention,
    "rows padded": padded_vectors,
}
"""Ours on a GPU; ours where there is no flash attention; the usual way through transformers."""


def seconds_of(run, rounds):
    run()
    taken = []
    for _ in range(rounds):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def cosine(one, other):
    """The least agreement of two sets of unit vectors, row by row, in fp64."""
    pair = (vectors.double() / vectors.double().norm(dim=1, keepdim=True) for vectors in (one, other))
    first, second = pair
    return round(float((first * second).sum(dim=1).min()), 6)


def attention_ways(encoder, device, *, tokens, rounds=3):
    """Forward, and forward with backward, of one chunk of mixed rows in each of the three ways."""
    batch = make_batch(encoder, max(16, tokens // 400), device=device)
    features = encoder.frozen_part(batch.query)
    rows = list(packing.chunks_by_tokens(features["lengths"].long().cpu(), tokens))
    mixed = torch.arange(int((features["lengths"].cumsum(0) <= tokens).sum()))
    for name, chosen in (("mixed lengths", mixed), ("like lengths", rows[0])):
        chunk = encoder.select(features, chosen)
        figure = {"rows": name, "count": len(chosen), "tokens": len(chunk["tokens"])}
        figure["tokens_padded"] = len(chosen) * int(chunk["lengths"].max())
        vectors = {}
        for way, run in WAYS.items():
            clean()
            with torch.no_grad(), autocast(device):
                taken = seconds_of(lambda run=run, chunk=chunk: run(encoder, chunk), rounds)
                vectors[way] = run(encoder, chunk)
            figure[f"forward_ms {way}"] = round(taken * 1000, 1)
            figure[f"peak_gib {way}"] = peak_gib()
        for way in ("attention padded", "rows padded"):
            figure[f"least_cosine packed / {way}"] = cosine(vectors["packed"], vectors[way])
        yield figure


def with_backward(encoder, device, *, tokens, rounds=2):
    """One chunk's forward and backward pass, packed and with padded attention."""
    encoder.train()
    batch = make_batch(encoder, max(16, tokens // 400), device=device)
    features = encoder.frozen_part(batch.query)
    chunk = encoder.select(features, torch.arange(int((features["lengths"].cumsum(0) <= tokens).sum())))
    figure = {"tokens": len(chunk["tokens"])}
    for way in ("packed", "attention padded"):

        def run(way=way):
            with autocast(device):
                vectors = WAYS[way](encoder, chunk)
            vectors.square().sum().backward()

        clean()
        figure[f"forward_backward_ms {way}"] = round(seconds_of(run, rounds) * 1000, 1)
        figure[f"peak_gib {way}"] = peak_gib()
        encoder.zero_grad(set_to_none=True)
    encoder.eval()
    return figure


def embedding_speed(encoder, folder, device, *, counts, budget, label):
    """Documents a second by token budget, in inference mode, features on the host before."""
    encoder.eval()
    parts = parts_of(folder)
    for modality, count in counts.items():
        features = documents(encoder, count, modality, "cpu")
        chunks = packing.chunks_by_tokens(features["lengths"].long(), budget)
        batches = [encoder.select(features, rows) for rows in chunks]
        with torch.inference_mode(), autocast(device):
            encoder({name: tensor.to(device) for name, tensor in batches[-1].items()})
            clean()
            synchronize()
            start = time.perf_counter()
            for batch in batches:
                encoder({name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}).cpu()
            synchronize()
            taken = time.perf_counter() - start
        lengths = [Rows(1, length) for length in features["lengths"].tolist()]
        images = len(features.get("image_row", ()))
        patches = int(features["image_tokens"][0]) if images else 0
        computed = parts["language model"].forward(lengths).total
        computed += sum(parts[name].forward([Rows(images, patches)]).total for name in ("vision tower", "projector"))
        yield {
            "weights": label, "modality": str(modality), "documents": count, "budget": budget,
            "documents_per_second": round(count / taken, 1), "tokens": len(features["tokens"]),
            "tokens_per_second": round(len(features["tokens"]) / taken), "seconds": round(taken, 2),
            "mfu": round(computed / taken / PEAK, 3), "peak_gib": peak_gib(),
        }  # fmt: skip


def kernels(encoder, device, *, tokens, top=24):
    """The kernels of one chunk's forward and backward pass by time, as the profiler counts them."""
    from torch.profiler import ProfilerActivity, profile

    encoder.train()
    batch = make_batch(encoder, max(16, tokens // 400), device=device)
    features = encoder.frozen_part(batch.query)
    chunk = encoder.select(features, torch.arange(int((features["lengths"].cumsum(0) <= tokens).sum())))
    activity = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU

    def run():
        with autocast(device):
            vectors = encoder(chunk)
        vectors.square().sum().backward()

    run()
    with profile(activities=[activity]) as found:
        run()
        synchronize()
    encoder.zero_grad(set_to_none=True)
    encoder.eval()
    column = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, column))
    total = sum(getattr(event, column) for event in events) or 1
    for event in events[:top]:
        own = getattr(event, column)
        yield {
            "kernel": event.key[:110], "calls": event.count, "ms": round(own / 1000, 2), "share": round(own / total, 3)
        }  # fmt: skip


def flash_parity(folder, shape, device):
    """Packed flash attention in bf16 beside the same weights in fp32, padded: as near as padding in bf16 is."""
    encoder = build(folder, shape, device, dtype="bfloat16").eval()
    draw_adapters(encoder)
    exact_encoder = build(folder, shape, device, dtype="float32").eval()
    exact_encoder.load_state_dict(encoder.state_dict())
    batch = make_batch(encoder, 48, device=device)
    for attention in ("causal", "bidirectional"):
        encoder.attention = exact_encoder.attention = attention
        with torch.no_grad():
            with without_flash():
                exact = exact_encoder(batch.query)
            with autocast(device):
                found = {"packed bf16": encoder(batch.query), "fp32 weights, autocast": exact_encoder(batch.query)}
                with without_flash():
                    found["padded bf16"] = encoder(batch.query)
        yield {
            "attention": attention, "rows": len(exact),
            **{f"least_cosine {name} / fp32": cosine(vectors, exact) for name, vectors in found.items()},
            **{f"difference {name}": round(float((own - exact).abs().max()), 5) for name, own in found.items()},
        }  # fmt: skip
    exact_encoder.attention = "causal"
    with torch.no_grad(), without_flash():
        exact = exact_encoder(batch.query).cpu()
        on_cpu = exact_encoder.cpu()({name: tensor.cpu() for name, tensor in batch.query.items()})
    yield {"attention": "causal, fp32", "least_cosine here / CPU": cosine(exact, on_cpu)}


COUNTS = {Modality.IMAGE: 256, Modality.TEXT: 2048, Modality.IMAGE_TEXT: 128}

"""The cached step: beside sentence-transformers' cached loss, beside layer checkpointing, and its memory.

Time: CPU seconds of forward and backward passes on one thread, no update, no dropout; gradients are compared first.

- One small Mistral body with equal weights in both, 256 pairs of rows of mixed lengths, fp32.
  `CachedMultipleNegativesRankingLoss` cuts mini-batches by rows (as many as hold a chunk's tokens on average) or by
  tokens (as many as a chunk's); it pads each to its longest row. The better of the two counts.
- A small LLaVA-Next with adapters, rows of text, image and both: the plain step with gradient checkpointing computes as
  much, for it too runs every layer twice.

Memory: the highest resident size of a process during one step, less what it had before, inputs loaded; a process of its
own for each batch, with memory given back to the system when a tensor is freed. It counts what a chunk needs and what
grows with the batch: vectors, their gradients, and the vision tower's features.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from benchmarks.gpu.models import build, draw_adapters, make_batch
from benchmarks.gpu.smaller import differing, gradients
from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.cached_step import cached_loss
from lit_mmembed.training.contrastive import contrastive_loss

BODY = {
    "hidden_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 512, "vocab_size": 8000,
}  # fmt: skip
PAIRS, QUERIES, CHUNK, ROUNDS = 256, 48, 2048, 5
FASTER, AS_FAST, GROWTH = 0.9, 1.05, 1.2
SMALLEST, LARGEST, MEMORY_CHUNK = 256, 4096, 16384


def beside_sentence_transformers(folder):
    from benchmarks import cached_peer as peer

    ours, theirs = peer.both(folder, "cpu", **BODY)
    batch, columns = peer.batches(PAIRS, BODY["vocab_size"], "cpu")
    tokens = sum(len(side["tokens"]) for side in (batch.query, batch.document))
    rows = CHUNK * 2 * PAIRS // tokens
    losses = {"rows": peer.their_loss(theirs, rows=rows), "tokens": peer.their_loss(theirs, rows=rows, tokens=CHUNK)}
    peer.our_step(ours, batch, CHUNK)
    peer.their_step(losses["tokens"], columns)
    apart = peer.agreement(ours, theirs)
    contenders = {name: lambda loss=loss: peer.their_step(loss, columns) for name, loss in losses.items()}
    contenders["ours"] = lambda: peer.our_step(ours, batch, CHUNK)
    seconds = interleaved(contenders, rounds=ROUNDS, clock=time.process_time)
    times = {name: round(ratio(seconds, "ours", name), 3) for name in losses}
    return {
        "beside": "sentence-transformers, CachedMultipleNegativesRankingLoss", "pairs": PAIRS, "tokens": tokens,
        "tokens_padded_to_the_batch": sum(column["input_ids"].numel() for column in columns),
        "chunk_tokens": CHUNK, "mini_batch_size": rows, "gradients_differ_by": apart,
        "times_theirs_by_mini_batches_of": times, "target_at_most": FASTER, "reached": max(times.values()) <= FASTER,
    }  # fmt: skip


def beside_checkpointing(folder):
    torch.manual_seed(0)
    encoder = build(folder, "cpu", "cpu", dtype="float32").train()
    draw_adapters(encoder)
    loss = InfoNCE(0.02)
    batch = make_batch(encoder, QUERIES, 1)
    model = encoder.backbone.language_model

    def plain():
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        contrastive_loss(encoder, loss, batch).backward()
        model.gradient_checkpointing_disable()

    def cached():
        cached_loss(encoder, loss, batch, chunk_tokens=CHUNK).backward()

    found = []
    for run in (cached, plain):
        run()
        found.append(gradients(encoder, loss))
    seconds = interleaved({"cached": cached, "plain": plain}, rounds=2 * ROUNDS, clock=time.process_time)
    times = round(ratio(seconds, "cached", "plain"), 3)
    sides = (batch.query, batch.document)
    return {
        "beside": "the plain step with gradient checkpointing", "queries": QUERIES, "documents": 2 * QUERIES,
        "tokens": sum(len(side["tokens"]) for side in sides), "images": sum(len(side["image_row"]) for side in sides),
        "chunk_tokens": CHUNK, "gradients_differ_by": differing(*found), "times_plain": times,
        "target_at_most": AS_FAST, "reached": times <= AS_FAST,
    }  # fmt: skip


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def memory_of_a_step(folder, queries, images):
    """Print the bytes that a step takes at most above what is there before it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = build(folder, "tiny", "cpu", dtype="float32").train()
    loss = InfoNCE(0.02)
    cached_loss(encoder, loss, make_batch(encoder, 64, images=images), chunk_tokens=CHUNK).backward()
    batch = make_batch(encoder, queries, images=images)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    cached_loss(encoder, loss, batch, chunk_tokens=MEMORY_CHUNK).backward()
    print(json.dumps({"bytes": status("VmHWM") - before, "before": before}))


def memory_growth(folder, images):
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    found = {}
    for queries in (SMALLEST, LARGEST):
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.cached_step"]
        command += [str(folder), str(queries), "images" if images else "texts"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[queries] = json.loads(done.stdout.splitlines()[-1])
    times = round(found[LARGEST]["bytes"] / found[SMALLEST]["bytes"], 3)
    return {
        "memory": "texts and images" if images else "texts", "queries": [SMALLEST, LARGEST],
        "chunk_tokens": MEMORY_CHUNK, "mib": [round(found[size]["bytes"] / 2**20) for size in (SMALLEST, LARGEST)],
        "times": times, "target_at_most": GROWTH, "reached": times <= GROWTH,
    }  # fmt: skip


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = [
            beside_sentence_transformers(folder / "peer"),
            beside_checkpointing(folder / "llava"),
            *(memory_growth(folder / "tiny", images) for images in (False, True)),
        ]
    save("cached_step", figures)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        memory_of_a_step(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "images")
    else:
        main()

"""Embedding a collection: batches by token budget, sorted and packed, beside the usual way, and the bare forward.

Ours is `RetrievalData.encoding_loader`'s: `SortedBatches` by estimated tokens, rows packed, attention within rows. The
usual way takes rows as they come, as many to a batch as hold the budget on average, padded to the longest of a batch
under transformers' attention mask. Both embed the same 512 rows of M-BEIR's mix of text, image and both, and the time
counts everything from rows to vectors: prompts and tokenizing too, but no decoding of images.

The bare forward is the language model alone on rows of one length: [n, L] tokens to hidden states, nothing packed,
nothing pooled.

A small LLaVA-Next of random weights, fp32, CPU seconds on one thread.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.models import build, made_row
from benchmarks.measure import interleaved, ratio, save
from benchmarks.padded import padded_vectors
from lit_mmembed.data.encoding import SortedBatches
from lit_mmembed.encoders.packing import PACKED
from lit_mmembed.training.workload import mbeir
from lit_mmembed.types import EncoderRow, Side

ROWS, BUDGET, ROUNDS = 512, 2048, 7
LENGTHS = (64, 256)
FASTER, SHARE = 1.6, 0.90


def collection(generator):
    kinds = mbeir(instructions=True).pool
    share = np.array([kind.count for kind in kinds])
    return [
        made_row(kinds[kind], generator, True) for kind in generator.choice(len(kinds), ROWS, p=share / share.sum())
    ]


def sorted_batches(encoder, rows):
    characters = np.array([len(row.text or "") for row in rows])
    images = np.array([row.image is not None for row in rows])
    tokens = encoder.preprocess.lengths(characters, images, Side.CANDIDATE)
    return list(SortedBatches(tokens, len(rows), tokens=tokens, budget=BUDGET))


def mixed(encoder, rows):
    features = encoder.preprocess(rows)
    lengths = features["lengths"].numpy()
    size = max(1, round(BUDGET / lengths.mean()))
    fixed = [list(range(start, min(start + size, len(rows)))) for start in range(0, len(rows), size)]
    ordered = sorted_batches(encoder, rows)

    @torch.inference_mode()
    def run(batches, embed):
        vectors = torch.empty(len(rows), encoder.dimension)
        for batch in batches:
            vectors[batch] = embed(encoder.preprocess([rows[row] for row in batch]))
        return vectors

    contenders = {
        "ours": lambda: run(ordered, encoder),
        "usual": lambda: run(fixed, lambda features: padded_vectors(encoder, features)),
        "sorted, padded": lambda: run(ordered, lambda features: padded_vectors(encoder, features)),
    }
    apart = float((contenders["ours"]() - contenders["usual"]()).abs().max())
    seconds = interleaved(contenders, rounds=ROUNDS, clock=time.process_time)
    faster = round(ratio(seconds, "usual", "ours"), 2)
    return {
        "rows": ROWS, "images": sum(row.image is not None for row in rows), "tokens": int(lengths.sum()),
        "tokens_padded": sum(len(batch) * int(lengths[batch].max()) for batch in fixed), "budget": BUDGET,
        "largest_difference": apart, "times_faster_than_unsorted_padded": faster, "target_at_least": FASTER,
        "times_faster_than_sorted_padded": round(ratio(seconds, "sorted, padded", "ours"), 2),
        "reached": faster >= FASTER,
    }  # fmt: skip


def uniform(encoder, length):
    """Our encoder beside the language model's forward on the same embeddings, rows of one length."""
    words = EncoderRow("a " * 200, None, Side.CANDIDATE)
    one = encoder.preprocess([words])
    count = max(1, BUDGET // length)
    features = {
        "tokens": one["tokens"][:1].repeat(count * length),
        "lengths": torch.full((count,), length, dtype=torch.int32),
        "counts": torch.ones(count * length, dtype=torch.bool), "cut": torch.zeros(count, dtype=torch.int32),
    }  # fmt: skip
    ids = features["tokens"].view(count, length).long()
    model = encoder.backbone.language_model

    @torch.inference_mode()
    def bare():
        model.config._attn_implementation = "sdpa"
        try:
            return model(input_ids=ids, use_cache=False).last_hidden_state
        finally:
            model.config._attn_implementation = PACKED

    @torch.inference_mode()
    def ours():
        return encoder(features)

    seconds = interleaved({"ours": ours, "bare": bare}, rounds=3 * ROUNDS, clock=time.process_time)
    share = round(ratio(seconds, "bare", "ours"), 3)
    return {
        "rows": count, "length": length, "share_of_the_bare_forwards_speed": share, "target_at_least": SHARE,
        "reached": share >= SHARE,
    }  # fmt: skip


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        encoder = build(Path(folder), "cpu", "cpu", dtype="float32").eval()
    encoder.merge()
    figures = [mixed(encoder, collection(np.random.default_rng(0)))]
    figures += [uniform(encoder, length) for length in LENGTHS]
    save("encoding", figures)


if __name__ == "__main__":
    main()

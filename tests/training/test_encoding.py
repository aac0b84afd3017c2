"""Embedding counts the texts that were longer than the encoder takes."""

from __future__ import annotations

import torch

from lit_mmembed.data.collate import EncodingCollate
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.training.encoding import encode_batches
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg, own_small
from tests.encoders.small_mllm import llava_folder


class Kept:
    """Stands where a store's writer stands."""

    def __init__(self):
        self.rows = {}

    def write(self, rows, vectors):
        self.rows |= dict(zip(rows.tolist(), vectors, strict=True))


def batches(encoder, texts):
    rows = [(place, EncoderRow(text, jpeg(place), Side.CANDIDATE)) for place, text in enumerate(texts)]
    collate = EncodingCollate(encoder.preprocess)
    return [collate(rows[:2]), collate(rows[2:])]


def test_texts_that_are_cut_are_counted_over_all_batches():
    encoder = MllmEncoder(LlavaNextBackbone(llava_folder()), candidate_length=20)
    texts = ["a fox", "a red fox on a mat " * 5, "cats", "the world " * 9]
    kept = Kept()
    assert encode_batches(encoder, batches(encoder, texts), kept, device=torch.device("cpu")) == 2
    assert sorted(kept.rows) == [0, 1, 2, 3]
    assert encoder.training


def test_an_encoder_that_does_not_say_so_counts_none(tmp_path):
    encoder = own_small(tmp_path)
    assert encode_batches(encoder, batches(encoder, ["fox " * 50] * 3), Kept(), device=torch.device("cpu")) == 0

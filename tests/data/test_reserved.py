"""No text may spell the token that stands for an image; it is found before training starts."""

from __future__ import annotations

import re

import pytest

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.reserved import refuse_reserved
from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.data.tar import json_end, sample_span
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample
from tests.encoders.small import jpeg

TEXTS = {"1:1": "A red fox.", "1:2": None, "1:3": "What is in <image> here?", "1:4": "Two <image> <image>."}


class Preprocess:
    reserved = "<image>"

    def __call__(self, rows):
        raise AssertionError("nothing is to be tokenized")


@pytest.fixture
def reader(tmp_path):
    samples = []
    for key, text in TEXTS.items():
        image = jpeg(1) if text is None else None
        samples.append(Sample(key, text, image, Modality.of(text=bool(text), image=image is not None)))
    write_shard_set(tmp_path / "set", samples)
    return ShardReader(tmp_path / "set")


def test_the_first_row_that_spells_a_word_is_found(reader):
    assert reader.spelling("<image>") == 2
    assert reader.spelling("<|image_pad|>") is None


def test_the_error_names_the_shards_the_record_and_the_fix(reader):
    with pytest.raises(InputError, match=re.escape("1:3: the text spells <image> (fix: remove it")):
        refuse_reserved(Preprocess(), [reader])


def test_an_encoder_without_such_a_word_takes_every_text(reader):
    refuse_reserved(object(), [reader])


def test_training_does_not_start_on_such_data(tiny, monkeypatch):
    data = RetrievalData(tiny.data, batch_size=4)
    data.connect(Preprocess())
    monkeypatch.setattr(Preprocess, "reserved", "fox")
    with pytest.raises(InputError, match="the text spells fox"):
        data.train_dataloader()


def test_the_end_of_the_json_is_told_by_the_first_block_and_no_image_is_searched():
    sample = Sample("1:5", "A red fox.", b"<image> in the picture's bytes", Modality.IMAGE_TEXT)
    span = sample_span(sample, "jpg")
    assert span[512 : json_end(span[:512])].endswith(b'"modality":"image,text"}')
    assert json_end(b"") == json_end(bytes(512)) == 0

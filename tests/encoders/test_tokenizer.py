from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

from lit_mmembed.encoders.tokenizer import END_ID, START_ID, BpeTokenizer, ClipTokenizer, padded, train_tokenizer
from lit_mmembed.errors import InputError
from tests.encoders.small import TEXTS, hf_folder

TRAIN = (
    "from lit_mmembed.encoders.tokenizer import train_tokenizer as t; import sys; t({!r}, sys.argv[1], vocab_size=300)"
)


@pytest.fixture
def own(tmp_path):
    train_tokenizer(TEXTS, tmp_path / "t.json", vocab_size=400)
    return BpeTokenizer(tmp_path / "t.json", 12)


def test_the_same_texts_give_the_same_bytes_in_another_process(tmp_path):
    texts = [f"{a} {b}" for a in TEXTS for b in TEXTS]
    train_tokenizer(texts, tmp_path / "a.json", vocab_size=300)
    subprocess.run([sys.executable, "-c", TRAIN.format(texts), str(tmp_path / "b.json")], check=True)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_every_text_starts_and_ends_and_is_cut_to_the_context(own):
    for ids in own(["fox", "fox " * 100, "", "Ünïcode 漢字 🦊"]):
        assert ids[0] == START_ID and ids[-1] == END_ID and len(ids) <= 12
        assert END_ID not in ids[:-1]


def test_a_text_that_spells_a_special_token_gets_no_special_id(own):
    ids = own(["a <|endoftext|> fox"])[0]
    assert ids.count(END_ID) == 1
    assert pickle.loads(pickle.dumps(own))(["a <|endoftext|> fox"])[0] == ids


def test_case_and_composition_do_not_matter(own):
    assert own(["A RED FOX", "e\u0301"]) == own(["a red fox", "\u00e9"])


def test_what_is_read_can_be_written_again(own, tmp_path):
    own.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "t.json").read_bytes()


def test_a_missing_or_foreign_tokenizer_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"none.json.*can't be read"):
        BpeTokenizer(tmp_path / "none.json", 12)
    foreign = hf_folder(tmp_path) / "tokenizer.json"
    with pytest.raises(InputError, match="no tokenizer of this project"):
        BpeTokenizer(foreign, 12)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match=r"broken.json"):
        BpeTokenizer(tmp_path / "broken.json", 12)


def test_clips_own_tokenizer_gives_open_clips_ids():
    import open_clip

    texts = [*TEXTS, "long " * 100, "A photo of a cat &amp; dog!"]
    expected = open_clip.get_tokenizer("ViT-L-14")(texts)
    assert torch.equal(padded(ClipTokenizer()(texts), 0, 77), expected)


def test_padding_goes_to_the_longest_or_to_the_width_asked_for():
    assert padded([[1, 2, 3], [1]], 9).tolist() == [[1, 2, 3], [1, 9, 9]]
    assert padded([[1]], 0, 3).tolist() == [[1, 0, 0]]
    assert padded([], 0, 3).shape == (0, 3)

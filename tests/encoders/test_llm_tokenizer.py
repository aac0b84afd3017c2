from __future__ import annotations

import pytest

from lit_mmembed.encoders.llm_tokenizer import closed_with_end, load_llm_tokenizer, prompt_wordings
from lit_mmembed.errors import InputError
from tests.encoders.initial_folders import tokenizer_folder
from tests.encoders.small import TEXTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tokenizer_folder(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return load_llm_tokenizer(folder)


@pytest.mark.parametrize("word", ["True", "False"])
def test_an_answer_is_one_token_alone_behind_a_space_and_behind_a_line_break(tokenizer, word):
    (alone,) = tokenizer(word, add_special_tokens=False)["input_ids"]
    assert tokenizer(f" {word}", add_special_tokens=False)["input_ids"] == [alone]
    for text in (f"is it so? {word}", f"True or False\n{word}", f"<image>\n{word}"):
        assert tokenizer(text)["input_ids"][-1] == alone


def test_a_text_begins_with_the_start_token_and_has_no_end_token(tokenizer):
    ids = tokenizer("a red fox")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids


def test_special_tokens_are_one_token_each_and_differ(tokenizer):
    special = ("<unk>", "<s>", "<pad>", "</s>", "<image>")
    ids = [tokenizer(token, add_special_tokens=False)["input_ids"] for token in special]
    assert ids == [[0], [1], [2], [3], [4]]
    assert [tokenizer.unk_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.eos_token] == list(special[:4])


def test_case_does_not_matter(tokenizer):
    assert tokenizer("A Red FOX")["input_ids"] == tokenizer("a red fox")["input_ids"]


def test_offsets_cover_the_text_one_token_after_the_other(tokenizer):
    text = "Find me an everyday image\nQuery: <image>\nTwo Katzen, größer als ein 🦊."
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"][1:]
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered == set(range(len(text)))
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)


@pytest.mark.parametrize("text", [*TEXTS, "ein großer 🦊 im Schnee", "\N{SNOWMAN} at −3°"])
def test_a_text_can_be_read_back_in_lower_case(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids).strip() == text.lower()


def test_the_same_texts_give_the_same_bytes(folder, tmp_path):
    again = tokenizer_folder(tmp_path)
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_the_closed_copy_ends_every_text_with_the_end_token(tokenizer, tmp_path):
    closed = closed_with_end(tokenizer)
    closed.save_pretrained(tmp_path)
    for text in TEXTS:
        expected = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        assert closed(text)["input_ids"] == expected == load_llm_tokenizer(tmp_path)(text)["input_ids"]
    assert tokenizer("a")["input_ids"][-1] != tokenizer.eos_token_id


def test_the_prompts_of_the_paper_are_without_placeholders():
    wordings = prompt_wordings()
    assert any("Does the above two images have the same scene? True or False" in wording for wording in wordings)
    assert any("in one word" in wording for wording in wordings)
    assert not any(mark in wording for wording in wordings for mark in "{}")


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no tokenizer"):
        load_llm_tokenizer(tmp_path)

"""A tokenizer for a small language model from scratch: a lower-casing byte-level BPE in a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lit_mmembed.encoders.prompts import paper_prompts
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder

UNKNOWN, START, PAD, END, IMAGE = "<unk>", "<s>", "<pad>", "</s>", "<image>"
SPECIAL = (UNKNOWN, START, PAD, END, IMAGE)
"""In the order of their ids; END is not 2, which transformers' CLIP takes for a marker of old configurations."""
ANSWERS = "True or False"
ANSWER_REPEATS = 1000
MAX_LENGTH = 512


def prompt_wordings() -> list[str]:
    """Return every wording of Tables 11, 12 and 13 of the paper, placeholders left out."""
    names = ("instruction", "image", "text", "eos", "q_txt", "q_img", "c_txt", "c_img")
    wordings = []
    for wording in _strings(paper_prompts()):
        for name in names:
            wording = wording.replace(f"{{{name}}}", " ")
        wordings.append(wording)
    return wordings


def train_llm_tokenizer(texts: Iterable[str], out: str | Path, *, vocab_size: int = 4096) -> None:
    """Train a lower-casing byte-level BPE and write a folder for `AutoTokenizer.from_pretrained`.

    Every line begins with a space, as every word inside a line does: "True" alone, after a line break and in a sentence
    is the same single token. A text gets START in front and nothing behind. The same texts give the same bytes.

    Args:
        texts: What to train on.
        out: The folder, made anew.
        vocab_size: Entries with the special ones.
    """
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    bpe = Bpe(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    lines = pre_tokenizers.Split("\n", "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([lines, pre_tokenizers.ByteLevel(add_prefix_space=True)])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator([*texts, *[ANSWERS] * ANSWER_REPEATS], trainer)
    bpe.post_processor = _post_processor(bpe, f"{START} $A", f"{START} $A $B")
    with atomic_folder(out, replace=True) as partial:
        wrapped(bpe).save_pretrained(str(partial))


def wrapped(bpe: Any) -> Any:
    """Return a `tokenizers.Tokenizer` as transformers' tokenizer, with the special tokens' roles."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=[IMAGE],
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def load_llm_tokenizer(folder: str | Path) -> Any:
    """Load what `train_llm_tokenizer` wrote.

    Raises:
        InputError: the folder holds no tokenizer.
    """
    from transformers import AutoTokenizer

    if not (Path(folder) / "tokenizer.json").is_file():
        raise InputError("holds no tokenizer", file=folder, fix="make it with `mmembed tokenizer --style llm`")
    return AutoTokenizer.from_pretrained(str(folder))


def closed_with_end(tokenizer: Any) -> Any:
    """Return a copy of a loaded tokenizer that also puts END behind each text: what CLIP's text tower is pooled at."""
    from tokenizers import Tokenizer as Bpe

    bpe = Bpe.from_str(tokenizer.backend_tokenizer.to_str())
    bpe.post_processor = _post_processor(bpe, f"{START} $A {END}", f"{START} $A $B {END}")
    return wrapped(bpe)


def _post_processor(bpe: Any, single: str, pair: str) -> Any:
    from tokenizers import processors

    ids = [(token, bpe.token_to_id(token)) for token in (START, END)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _strings(value)

"""Tokenizers of small language models: byte-level as GPT's, and pieces with a marker for spaces as Llama's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def byte_tokenizer(corpus: Sequence[str], image: bool) -> Any:
    """Byte-level BPE; every text gets "<s>" in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<unk>", "<s>", "</s>"]
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return _wrapped(bpe, image)


def piece_tokenizer(corpus: Sequence[str], image: bool) -> Any:
    """BPE over pieces that begin with a marker for the space, one put before the text; unknown letters as bytes."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    bpe = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    bpe.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", "</s>"]
    every_byte = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=[*special, *every_byte], show_progress=False)
    bpe.train_from_iterator([*corpus] * 3, trainer)
    described = json.loads(bpe.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["content"] in special]
    return _wrapped(Tokenizer.from_str(json.dumps(described)), image)


def _wrapped(bpe: Any, image: bool) -> Any:
    from tokenizers import AddedToken, processors
    from transformers import PreTrainedTokenizerFast

    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    more: dict[str, Any] = {}
    if image:  # behind the vocabulary, as in LLaVA-Next: the language model that takes its place has no such rows
        bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<image>", "<pad>")])
        more = {"pad_token": "<pad>", "extra_special_tokens": {"image_token": "<image>"}}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **ROLES, **more)

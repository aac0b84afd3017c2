"""A query's prompts as tokens: what they all begin with, once, and what is left of each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lit_mmembed.data.judging import IMAGE, Prompt
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.prompts import ChatTemplate
from lit_mmembed.reranking.true_false import tokenize

Unit = int | str
"""A token's id, or the digest of an image, which stands for all of its vectors."""


@dataclass(frozen=True)
class SharedPrompts:
    """Prompts of one query: each is `prefix` and one of `suffixes`."""

    prefix: tuple[Unit, ...]
    suffixes: tuple[tuple[Unit, ...], ...]


class PromptTokens:
    """Makes units of prompts.

    Args:
        tokenizer: A fast tokenizer of transformers.
        image_token: Its id of an image.
        template: The chat template.
        lead: Ids that close every prompt: what both answers begin with.
    """

    def __init__(self, tokenizer: Any, image_token: int, template: ChatTemplate, lead: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.image_token = image_token
        self.template = template
        self.lead = tuple(lead)

    def __call__(self, prompt: Prompt, *, record: str) -> tuple[Unit, ...]:
        """Return a prompt's units.

        Raises:
            InputError: the text spells the image's placeholder; the tokenizer does not know it.
        """
        if prompt.text.count(IMAGE) != len(prompt.images):
            raise InputError(f"the text spells {IMAGE}", record=record, fix="remove it from the text")
        ids = tokenize(self.tokenizer, self.template.render(prompt.text))
        if ids.count(self.image_token) != len(prompt.images):
            problem = f"the tokenizer makes {ids.count(self.image_token)} image tokens of {len(prompt.images)} images"
            raise InputError(problem, record=record, fix="use the tokenizer that belongs to the model")
        digests = iter([digest(image) for image in prompt.images])
        return (*(next(digests) if token == self.image_token else token for token in ids), *self.lead)


def shared(sequences: Sequence[tuple[Unit, ...]]) -> SharedPrompts:
    """Split off what all sequences begin with; each keeps at least its last unit. A single one keeps everything."""
    if len(sequences) == 1:
        return SharedPrompts((), tuple(sequences))
    first, same = sequences[0], min(len(sequence) for sequence in sequences) - 1
    for other in sequences[1:]:
        same = next((place for place in range(same) if other[place] != first[place]), same)
    return SharedPrompts(first[:same], tuple(sequence[same:] for sequence in sequences))


def digest(image: bytes) -> str:
    """Name an encoded image by its content."""
    return hashlib.blake2b(image, digest_size=16).hexdigest()

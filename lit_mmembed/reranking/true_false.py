"""The two tokens whose logits are compared: those that the tokenizer makes of "True" and "False" behind the prompt.

"True" and " True" are different tokens in most vocabularies, and which of them follows a prompt depends on the chat
template. So both answers are written behind a whole prompt, tokenized with it, and what comes after the prompt is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lit_mmembed.data.judging import FALSE, TRUE
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.prompts import ChatTemplate

log = logging.getLogger(__name__)
Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True)
class Answers:
    """The ids that tell "True" from "False"."""

    true: int
    false: int
    lead: tuple[int, ...]
    """What both answers begin with (a lone space, in some vocabularies): it belongs to the prompt."""
    pieces: tuple[str, str]
    """As the vocabulary spells them."""
    whole: bool
    """Whether each answer is that one token, and not only begins with it."""

    def record(self) -> dict[str, Any]:
        """Return what a run record keeps."""
        return {
            "true": {"id": self.true, "piece": self.pieces[0]},
            "false": {"id": self.false, "piece": self.pieces[1]},
            "lead": list(self.lead),
            "single_tokens": self.whole,
        }


def answers_of(tokenizer: Any, template: ChatTemplate, prompts: Sequence[str]) -> Answers:
    """Resolve the answers behind every prompt (a text without images); they must be the same behind all.

    Raises:
        InputError: the tokenizer has no token for one of them, or the same for both, or others behind other prompts.
    """
    found = {prompt: _behind(tokenizer, template, prompt) for prompt in prompts}
    answers = next(iter(found.values()))
    for prompt, other in found.items():
        if other != answers:
            problem = f"the answers are {other.pieces} behind this prompt and {answers.pieces} behind another"
            raise InputError(problem, record=repr(prompt[-60:]), fix="use another --template")
    log.info("answers: %s", answers.record())
    return answers


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """Return a rendered prompt's ids; a chat template that writes the start token itself gets no second one."""
    start = tokenizer.bos_token
    return list(tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"])


def _behind(tokenizer: Any, template: ChatTemplate, prompt: str) -> Answers:
    start = tokenize(tokenizer, template.render(prompt))
    true, false = (_answer(tokenizer, template, prompt, word, start) for word in (TRUE, FALSE))
    same = 0
    while same < min(len(true), len(false)) and true[same] == false[same]:
        same += 1
    if same == min(len(true), len(false)) or tokenizer.unk_token_id in (true[same], false[same]):
        raise InputError("the tokenizer has no tokens that tell True from False", fix="take another model")
    first = true[same], false[same]
    pieces = tuple(tokenizer.convert_ids_to_tokens(list(first)))
    whole = len(true) == len(false) == same + 1
    return Answers(*first, lead=tuple(true[:same]), pieces=pieces, whole=whole)


def _answer(tokenizer: Any, template: ChatTemplate, prompt: str, word: str, start: list[int]) -> list[int]:
    ids = tokenize(tokenizer, template.answered(prompt, word))
    if ids[: len(start)] != start:
        problem = f"the tokenizer writes the prompt otherwise when {word} follows it"
        raise InputError(problem, record=repr(prompt[-60:]), fix="use another --template")
    return ids[len(start) :]

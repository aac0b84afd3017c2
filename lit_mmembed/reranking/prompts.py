"""What a reranker is asked: Table 13's question for the task, and the chat template around it.

A template asks for a part of the document, its image or its text. A document of the pool that lacks it (the retriever
brought the wrong modality) is asked about with the part that it has, in the same place. The paper does not say what it
does there; how often it happens is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from lit_mmembed.data.judging import IMAGE, Prompt, filled, judging_template
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Sample, Task

Fallback = Literal["text_for_image", "image_for_text"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)
TemplateName = Literal["none", "llava_mistral", "checkpoint"]
TEMPLATES: tuple[TemplateName, ...] = get_args(TemplateName)
_INSTEAD: tuple[tuple[str, str, Fallback], ...] = (
    ("c_img", "c_txt", "text_for_image"),
    ("c_txt", "c_img", "image_for_text"),
)


class Question(NamedTuple):
    """A prompt about one document."""

    prompt: Prompt
    fallback: Fallback | None
    """What stands for the part that the document lacks."""


@dataclass(frozen=True)
class Questions:
    """What is asked about one query: a question for each of its documents."""

    query_id: str
    prompts: tuple[Prompt, ...]
    relevant: tuple[bool, ...]
    """Whether each document is labelled as an answer: for the oracle."""


def reranking_question(task: Task, query: Sample | EncoderRow, document: Sample | EncoderRow) -> Question:
    """Fill the task's template of Table 13.

    A part that the query lacks goes with its line break; of the document's the other part takes the place.

    Raises:
        InputError: Table 13 has no template for this task number.
    """
    template = judging_template(task)
    has = {"c_txt": bool(document.text), "c_img": document.image is not None}
    fallback = None
    for wanted, other, name in _INSTEAD:
        if f"{{{wanted}}}" in template and not has[wanted] and has[other] and f"{{{other}}}" not in template:
            template, fallback = template.replace(f"{{{wanted}}}", f"{{{other}}}"), name
            break
    parts = {"q_txt": query.text, "q_img": query.image, "c_txt": document.text, "c_img": document.image}
    return Question(filled(template, parts), fallback)


@dataclass(frozen=True)
class ChatTemplate:
    """How a prompt is handed to the model: `render` makes the text up to the answer, `answered` the text with it."""

    name: TemplateName
    render: Callable[[str], str]
    answered: Callable[[str, str], str]


def chat_template(name: TemplateName, tokenizer: Any, source: str | None = None) -> ChatTemplate:
    """Return a template by name.

    Args:
        name: `none`: the prompt as it is; `llava_mistral`: "[INST] ... [/INST]"; `checkpoint`: what comes with the
            checkpoint, through transformers' `apply_chat_template`.
        tokenizer: The checkpoint's.
        source: The checkpoint's template, where the tokenizer has none.

    Raises:
        InputError: `checkpoint` is asked for and there is none.
    """
    if name == "none":
        return ChatTemplate(name, lambda text: text, lambda text, answer: f"{text} {answer}")
    if name == "llava_mistral":
        return ChatTemplate(name, _instruction, lambda text, answer: f"{_instruction(text)} {answer}")
    template = source or getattr(tokenizer, "chat_template", None)
    if not template:
        problem = "the checkpoint has no chat template"
        raise InputError(problem, fix="choose --template none or llava_mistral, or add its chat_template.jinja")

    def spoken(turns: list[tuple[str, str]], generate: bool) -> str:
        messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
        made = _rendered(tokenizer, messages, template, generate)
        if made is None:  # a template of texts only
            plain = [{"role": role, "content": text} for role, text in turns]
            made = _rendered(tokenizer, plain, template, generate)
        if made is None:
            raise InputError("the checkpoint's chat template does not render a prompt", fix="choose another --template")
        return made

    def render(text: str) -> str:
        return spoken([("user", text)], True)

    def answered(text: str, answer: str) -> str:
        start, whole = render(text), spoken([("user", text), ("assistant", answer)], False)
        return whole if whole.startswith(start) else start + answer

    return ChatTemplate(name, render, answered)


def _rendered(tokenizer: Any, messages: list[dict[str, Any]], template: str, generate: bool) -> str | None:
    """Return the text, or None where the template does not take this form of content."""
    try:
        made = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=generate
        )
    except Exception:  # jinja2 raises TypeError, UndefinedError, TemplateError as the template has it
        return None
    return None if "'type': 'text'" in made else str(made)


def _instruction(text: str) -> str:
    return f"[INST] {text} [/INST]"


def without_images(prompt: Prompt) -> str:
    """Return a prompt's text without its placeholders."""
    return prompt.text.replace(f"{IMAGE}\n", "").replace(IMAGE, "")

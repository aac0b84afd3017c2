"""Prompts of MLLM retrievers: how a row's instruction, image and text become one sequence (Tables 11 and 12).

A style gives a template; `fill` puts a row's parts into it. "A part that a row lacks is left out with its line break."
"""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from lit_mmembed.data.tasks import prompt_label
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side, Task

PAPER_PROMPTS = Path(__file__).parents[1] / "data/paper_prompts.yaml"
TEMPLATES_FILE = "one_word.yaml"
CATEGORIES = "shirt/dress/toptee"
"""How Table 12 writes FashionIQ's template: one of them is meant, the query's category."""
Kind = Literal["fixed", "instruction", "image", "text"]


class Part(NamedTuple):
    """A stretch of a prompt."""

    kind: Kind
    string: str
    """Its characters; empty for an image, whose placeholder is the backbone's."""


class PromptStyle(ABC):
    """How a row becomes a prompt. Picklable: it travels into DataLoader workers."""

    append_eos: bool
    """Close every prompt with the end-of-sequence token."""

    @abstractmethod
    def template(self, row: EncoderRow) -> str:
        """Return the template of a row, with {instruction}, {image} and {text} where they go."""

    def parts(self, row: EncoderRow) -> list[Part]:
        """Return the prompt of a row in parts; InputError where it has a part that the template has no place for."""
        template = self.template(row)
        for name, given in (("image", row.image is not None), ("text", bool(row.text))):
            if given and f"{{{name}}}" not in template:
                task = f" of {row.task.label}" if row.task else ""
                fix = f"add {{{name}}} to the template, or leave the {name} out"
                raise InputError(f"the prompt{task} has no place for an {name}: {template!r}", fix=fix)
        return fill(template, row)

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return what rebuilds the style; files that it needs are written into `folder`."""
        return {}


class EosPrompts(PromptStyle):
    r"""Table 11: LLaVA-E's and NV-Embed's prompts, closed with the end-of-sequence token.

    Args:
        query: Template of a query with an instruction. NV-Embed's and MM-Embed's released weights were trained with
            "Instruct: " in front: "Instruct: {instruction}\nQuery: {image}\n{text}".
        query_without_instruction: Template of a query without one.
        candidate: Template of a document.
    """

    append_eos = True

    def __init__(
        self,
        *,
        query: str = "{instruction}\nQuery: {image}\n{text}",
        query_without_instruction: str = "Query: {image}\n{text}",
        candidate: str = "{image}\n{text}",
    ) -> None:
        self.query = query
        self.query_without_instruction = query_without_instruction
        self.candidate = candidate

    def template(self, row: EncoderRow) -> str:
        """Return the template of a row."""
        if row.side is Side.CANDIDATE:
            return self.candidate
        return self.query if row.instruction else self.query_without_instruction

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return the templates."""
        return dict(vars(self))


class OneWordPrompts(PromptStyle):
    r"""Table 12: LLaVA-P's prompts, which ask for one word; the vector is the last token's.

    The task chooses the template of a query; it plays the part of the instruction. A query without an instruction (the
    policy `none`) is prompted like a document. A query with an instruction of a task that has no template, or of no
    task, is prompted "{image}\n{text}\n{instruction} in one word:".

    Args:
        templates: YAML of further templates, {"paper task/dataset": template}; they come before Table 12's.
    """

    append_eos = False
    free = "{image}\n{text}\n{instruction} in one word:"

    def __init__(self, *, templates: Path | None = None) -> None:
        self.templates = None if templates is None else Path(templates)
        table = paper_prompts()["one_word"]
        self.candidate: str = table["candidate"]
        self._queries = {label.lower(): template for label, template in table["queries"].items()}
        if self.templates is not None:
            self._queries |= {label.lower(): str(template) for label, template in _mapping(self.templates).items()}

    def template(self, row: EncoderRow) -> str:
        """Return the template of a row."""
        if row.side is Side.CANDIDATE or not row.instruction:
            return self.candidate
        return (self._of_task(row.task) if row.task else None) or self.free

    def _of_task(self, task: Task) -> str | None:
        """The template of a task, or of the one whose prompts it is asked with; FashionIQ's with its category."""
        found = self._queries.get(task.label.lower()) or self._queries.get(prompt_label(task).lower())
        category = task.dataset.partition("FashionIQ-")[2]
        return found.replace(CATEGORIES, category) if found and category else found

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Copy the further templates into `folder`."""
        if self.templates is None:
            return {}
        shutil.copyfile(self.templates, folder / TEMPLATES_FILE)
        return {"templates": TEMPLATES_FILE}


class ZeroShotPrompts(PromptStyle):
    """Footnote 9: one-word prompts without instruction, for a model that was not fine-tuned (E5-V's).

    The paper gives those for a sentence and for an image; a row that has both is asked about both.
    """

    append_eos = False
    both = "{image}\n{text}\nSummary above image and sentence in one word:"

    def __init__(self) -> None:
        self._templates: dict[str, str] = paper_prompts()["one_word"]["zero_shot"]

    def template(self, row: EncoderRow) -> str:
        """Return the template of a row's modality."""
        if row.image is not None and row.text:
            return self.both
        return self._templates["text" if row.image is None else "image"]


def fill(template: str, row: EncoderRow) -> list[Part]:
    r"""Put a row's parts into a template; what it lacks goes with the line break behind it, or else before it."""
    given: dict[str, str | None] = {
        "instruction": row.instruction or None,
        "image": "" if row.image is not None else None,
        "text": row.text or None,
    }
    for name, value in given.items():
        if value is None:
            template = re.sub(rf"\{{{name}\}}\n|\n\{{{name}\}}|\{{{name}\}}", "", template, count=1)
    pieces = re.split(r"(\{(?:instruction|image|text)\})", template)
    parts = []
    for piece in pieces:
        name = piece[1:-1]
        if piece.startswith("{") and name in given:
            parts.append(Part(name, given[name] or ""))  # type: ignore[arg-type]
        elif piece:
            parts.append(Part("fixed", piece))
    return parts


@cache
def paper_prompts() -> Mapping[str, Any]:
    """Return Tables 11, 12 and 13: {"eos", "one_word", "rerank"}."""
    return yaml.safe_load(PAPER_PROMPTS.read_text(encoding="utf-8"))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="give a YAML of prompt templates") from None
    except yaml.YAMLError as broken:
        raise InputError(f"is not YAML: {broken}", file=path, fix="correct the file") from None
    if not isinstance(content, dict):
        fix = 'write lines as `1/MSCOCO: "[image] {text}\\nDescribe the caption in one word:"`'
        raise InputError("is no mapping of tasks to templates", file=path, fix=fix)
    return content

"""Questions to be answered by "True" or "False": does this document answer this query? (Table 13 of the paper)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Sample, Task

PROMPTS_FILE = Path(__file__).with_name("paper_prompts.yaml")
IMAGE = "<image>"
TRUE, FALSE = "True", "False"
REPRESENTATIVE = {
    1: "1/mscoco",
    2: "2/webqa",
    3: "3/webqa",
    4: "4/mscoco",
    5: "5/nights",
    6: "6/oven",
    7: "7/cirr",
    8: "8/oven",
}
"""Whose template a dataset has that Table 13 does not name."""


class Prompt(NamedTuple):
    """A text with image placeholders, and the images in their order."""

    text: str
    images: tuple[bytes, ...]


def judging_prompt(task: Task, query: Sample | EncoderRow, document: Sample | EncoderRow) -> Prompt:
    """Fill the task's template of Table 13; a part that query or document lacks goes with its line break."""
    document_parts = {"c_txt": document.text, "c_img": document.image}
    return filled(judging_template(task), {"q_txt": query.text, "q_img": query.image, **document_parts})


def answering_prompt(task: Task, query: Sample | EncoderRow) -> Prompt | None:
    """Fill the task's template up to the document's text, for a model that is to write it; None where it has none."""
    start, place, _ = judging_template(task).partition("{c_txt}")
    return filled(start.rstrip(), {"q_txt": query.text, "q_img": query.image}) if place else None


def judging_template(task: Task) -> str:
    """Return the template of a task: its own, or that of the paper's task of the same number.

    Raises:
        InputError: Table 13 has no template for this task number.
    """
    table = _table()
    found = table.get(task.label.lower()) or table.get(REPRESENTATIVE.get(task.paper_id, ""))
    if found is None:
        raise InputError(f"no True-or-False prompt for {task.label}", fix="the paper has them for its tasks 1 to 8")
    return found


def filled(template: str, given: Mapping[str, str | bytes | None]) -> Prompt:
    """Put the parts of a query (`q_txt`, `q_img`) and a document (`c_txt`, `c_img`) into a template."""
    for name, value in given.items():
        if not value:
            template = re.sub(rf"\{{{name}\}}\n?", "", template)
    images: list[bytes] = []

    def part(match: re.Match[str]) -> str:
        value = given[match.group(1)]
        if isinstance(value, bytes):
            images.append(value)
            return IMAGE
        return str(value)

    return Prompt(re.sub(r"\{([qc]_(?:txt|img))\}", part, template), tuple(images))


@cache
def _table() -> dict[str, str]:
    table = yaml.safe_load(PROMPTS_FILE.read_text(encoding="utf-8"))["rerank"]
    return {label.lower(): template for label, template in table.items()}

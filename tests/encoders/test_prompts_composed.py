"""CIRCO is asked as CIRR is, each category of FashionIQ by its name (Table 12, section 5.3)."""

from __future__ import annotations

import pytest

from lit_mmembed.data.sources.circo import TASK as CIRCO
from lit_mmembed.data.sources.cirr import TASK as CIRR
from lit_mmembed.data.sources.fashioniq import TASKS
from lit_mmembed.data.tasks import prompt_label
from lit_mmembed.encoders.prompts import OneWordPrompts
from lit_mmembed.types import EncoderRow, Side

MODIFY = "[image] {image}\nModify this image with {text}\nDescribe modified image in one word:"
STYLE = "[image] {image}\nChange the style of this %s to {text}\nDescribe this modified %s in one word:"
TEMPLATES = {
    CIRCO: MODIFY,
    CIRR: MODIFY,
    **{task: STYLE % (category, category) for category, task in TASKS.items()},
}


@pytest.mark.parametrize("task", TEMPLATES, ids=lambda task: task.name)
def test_the_template_is_that_of_the_papers_row(task):
    row = EncoderRow("longer sleeves", b"", Side.QUERY, "Find it.", task)
    assert OneWordPrompts().template(row) == TEMPLATES[task]


def test_a_template_of_ones_own_comes_first(tmp_path):
    (tmp_path / "own.yaml").write_text('7/CIRCO: "{image} {text}"\n')
    row = EncoderRow("longer sleeves", b"", Side.QUERY, "Find it.", CIRCO)
    assert OneWordPrompts(templates=tmp_path / "own.yaml").template(row) == "{image} {text}"


def test_the_papers_labels_are_those_of_tables_11_to_13():
    assert {prompt_label(task) for task in TEMPLATES} == {"7/CIRR", "7/FashionIQ"}

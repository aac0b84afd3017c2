"""Tables in Markdown: whatever labels and settings say, a row has as many cells as the table has columns."""

import json
import re

import pytest

from lit_mmembed.evaluation.report import report
from lit_mmembed.evaluation.report.table import Cell, Head, Line, Table, markdown
from tests.evaluation.report_world import write_run

BAR = re.compile(r"(?<!\\)\|")
ODD = "M_hard | a\\b <i>\n2"
SHOWN = r"M_hard \| a\\b &lt;i> 2"


def columns(text):
    """How many cells the rows of each table have."""
    tables = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [{len(BAR.split(line)) for line in table.splitlines()} for table in tables]


@pytest.mark.parametrize(
    "table",
    [
        Table("t", [Head("", ODD)], [Line("row", "", [Cell("1.0")])]),
        Table("t", [Head(ODD, "label")], [Line("row", "", [Cell("1.0")])]),
        Table("t", [Head("", "head")], [Line(ODD, ODD, [Cell("1.0")])]),
        Table("t", [Head("", "head")], [Line("row", "", [Cell(ODD, ODD)])]),
    ],
)
def test_no_text_ends_a_cell_or_begins_markup(table) -> None:
    text = markdown(table)
    assert columns(text) == [{4}]
    assert SHOWN in text


def test_a_report_of_a_model_whose_label_has_a_bar_has_whole_tables(tmp_path) -> None:
    run = write_run(tmp_path / "toy", models=("M_rand", "M_hard"), seeds=(0,))
    for mark in run.rglob("stage.json"):
        stage = json.loads(mark.read_text())
        if stage["labels"].get("model") == "M_hard":
            stage["labels"]["model"] = "M_hard | a"
            mark.write_text(json.dumps(stage))
    report(run, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    assert r"M_hard \| a |" in text
    assert all(len(counts) == 1 for counts in columns(text))

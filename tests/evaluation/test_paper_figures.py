"""The paper's figures in paper.yaml agree with one another, as far as the paper's own averages can say."""

import statistics

import pytest

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.evaluation.mteb.names import MTEB15
from lit_mmembed.evaluation.report.paper import paper_table

ROUNDING = 0.1
TASKS = [task.name for task in MBEIR_TASKS]
SINGLE = [task.name for task in MBEIR_TASKS if task.paper_id <= 5]


def of_tasks(names):
    rows = paper_table(1)["rows"]
    return [statistics.mean(rows[name][place] for name in names) for place in range(8)]


@pytest.mark.parametrize(
    ("average", "names"),
    [("avg_all", TASKS), ("avg_single_modal", SINGLE), ("avg_multi_modal", [n for n in TASKS if n not in SINGLE])],
)
def test_averages_of_table_1_are_the_means_of_its_rows(average, names):
    assert of_tasks(names) == pytest.approx(paper_table(1)["rows"][average], abs=ROUNDING)


def test_averages_of_table_9_are_the_means_of_its_sets():
    for figures in paper_table(9)["rows"].values():
        assert statistics.mean(figures[:-1]) == pytest.approx(figures[-1], abs=ROUNDING)


def test_tables_that_share_a_number_agree():
    main, coco, texts = (paper_table(number) for number in (1, 2, 9))
    for task, measures in coco["rows"].items():
        assert measures["hit@5"] == main["rows"][task][:7]
    by_column = dict(zip(main["columns"], main["rows"]["mteb"], strict=True))
    shown = {name: figures[-1] for name, figures in texts["rows"].items() if name in by_column}
    assert shown == {name: by_column[name] for name in shown} and len(shown) == 3
    for name, rows in paper_table(3)["retrievers"].items():
        place = main["columns"].index(name)
        assert {task: pair[0] for task, pair in rows.items()} == {task: main["rows"][task][place] for task in rows}
    assert [row[1] for row in paper_table(10)["rows"].values()] == [
        main["rows"][name][0] for name in ("avg_all", "avg_single_modal", "avg_multi_modal")
    ]


def test_every_row_has_a_figure_for_each_column():
    for number in (1, 5, 7, 9, 10):
        table = paper_table(number)
        assert {len(figures) for figures in table["rows"].values()} == {len(table["columns"])}
    assert {len(f) for rows in paper_table(2)["rows"].values() for f in rows.values()} == {7}
    assert {len(pair) for rows in paper_table(3)["retrievers"].values() for pair in rows.values()} == {2}
    assert {len(pair) for pair in paper_table(4)["rows"].values()} == {2}


def test_rows_and_columns_have_the_projects_names():
    for number in (1, 7):
        assert list(paper_table(number)["rows"])[:16] == TASKS
    assert list(paper_table(8)["rows"])[:16] == TASKS
    assert set(paper_table(5)["rows"]) <= set(SINGLE)
    assert paper_table(9)["columns"][:-1] == list(MTEB15.values())
    assert set(paper_table(6)["beir_sets"]) <= set(MTEB15.values())

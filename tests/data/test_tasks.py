"""The table of tasks says what M-BEIR and the paper say."""

from collections import Counter

import pytest

from lit_mmembed.data.tasks import MBEIR_TASKS, PUBLISHED_COUNTS, averages, find_task, task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality

UNIIR_ORDER = [
    "visualnews_task0",
    "mscoco_task0",
    "fashion200k_task0",
    "webqa_task1",
    "edis_task2",
    "webqa_task2",
    "visualnews_task3",
    "mscoco_task3",
    "fashion200k_task3",
    "nights_task4",
    "oven_task6",
    "infoseek_task6",
    "fashioniq_task7",
    "cirr_task7",
    "oven_task8",
    "infoseek_task8",
]
MM_EMBED = (41.0, 71.3, 17.1, 95.9, 68.8, 85.0, 41.3, 90.1, 18.4, 32.4, 42.1, 42.3, 25.7, 50.0, 64.1, 57.7)


def test_the_rows_stand_in_uniirs_reporting_order() -> None:
    assert [task.name for task in MBEIR_TASKS] == UNIIR_ORDER
    assert list(PUBLISHED_COUNTS) == UNIIR_ORDER


def test_the_published_counts_sum_to_the_published_totals() -> None:
    assert sum(counts.queries for counts in PUBLISHED_COUNTS.values()) == 190_573
    assert sum(counts.pool for counts in PUBLISHED_COUNTS.values()) == 5_609_079


def test_a_dataset_has_one_number_and_a_task_number_one_pair_of_modalities() -> None:
    assert len({(task.dataset, task.dataset_id) for task in MBEIR_TASKS}) == 10
    modalities = {(task.mbeir_id, task.paper_id, task.query_modality, task.candidate_modality) for task in MBEIR_TASKS}
    assert len(modalities) == 8
    assert (6, 6, Modality.IMAGE_TEXT, Modality.TEXT) in modalities


def test_only_the_fashion_datasets_are_scored_at_ten() -> None:
    assert {task.dataset for task in MBEIR_TASKS if task.cutoff == 10} == {"Fashion200K", "FashionIQ"}
    assert Counter(task.domain for task in MBEIR_TASKS) == {"news": 3, "misc": 4, "fashion": 3, "wiki": 6}


def test_averages_of_the_papers_row_are_the_papers_averages() -> None:
    means = averages(dict(zip(UNIIR_ORDER, MM_EMBED, strict=True)))
    assert {name: round(mean, 1) for name, mean in means.items()} == {
        "avg_all": 52.7,
        "avg_single_modal": 56.1,
        "avg_multi_modal": 47.0,
    }


def test_averages_take_the_rows_present_and_leave_out_empty_groups() -> None:
    assert averages({"cirr_task7": 0.5, "oven_task8": 1.0, "elsewhere": 9.0}) == {
        "avg_all": 0.75,
        "avg_multi_modal": 0.75,
    }
    assert averages({}) == {}


def test_a_task_is_found_by_name_and_by_both_numbers() -> None:
    assert task_by_name("webqa_task2") is find_task(2, 2) is MBEIR_TASKS[5]


def test_an_unknown_task_is_reported_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"cirr_task6.*cirr_task7"):
        task_by_name("cirr_task6")
    with pytest.raises(InputError, match=r"dataset 8 has no task 6.*\(8, 7\) cirr_task7"):
        find_task(8, 6)

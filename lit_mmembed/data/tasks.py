"""The task/dataset pairs as one table: what is asked with what, and how it is scored (M-BEIR; Table 1 of the paper)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Task

_TEXT, _IMAGE, _BOTH = Modality.TEXT, Modality.IMAGE, Modality.IMAGE_TEXT

MBEIR_TASKS: tuple[Task, ...] = (
    Task("VisualNews", 0, 0, 1, _TEXT, _IMAGE, domain="news"),
    Task("MSCOCO", 9, 0, 1, _TEXT, _IMAGE, domain="misc"),
    Task("Fashion200K", 1, 0, 1, _TEXT, _IMAGE, cutoff=10, domain="fashion"),
    Task("WebQA", 2, 1, 2, _TEXT, _TEXT, domain="wiki"),
    Task("EDIS", 3, 2, 3, _TEXT, _BOTH, domain="news"),
    Task("WebQA", 2, 2, 3, _TEXT, _BOTH, domain="wiki"),
    Task("VisualNews", 0, 3, 4, _IMAGE, _TEXT, domain="news"),
    Task("MSCOCO", 9, 3, 4, _IMAGE, _TEXT, domain="misc"),
    Task("Fashion200K", 1, 3, 4, _IMAGE, _TEXT, cutoff=10, domain="fashion"),
    Task("NIGHTS", 4, 4, 5, _IMAGE, _IMAGE, domain="misc"),
    Task("OVEN", 5, 6, 6, _BOTH, _TEXT, domain="wiki"),
    Task("INFOSEEK", 6, 6, 6, _BOTH, _TEXT, domain="wiki"),
    Task("FashionIQ", 7, 7, 7, _BOTH, _IMAGE, cutoff=10, domain="fashion"),
    Task("CIRR", 8, 7, 7, _BOTH, _IMAGE, domain="misc"),
    Task("OVEN", 5, 8, 8, _BOTH, _BOTH, domain="wiki"),
    Task("INFOSEEK", 6, 8, 8, _BOTH, _BOTH, domain="wiki"),
)
"""The 16 rows in UniIR's reporting order, which is also the order of the paper's Table 1."""

MBEIR_MODALITIES: dict[int, tuple[Modality, Modality]] = {
    task.mbeir_id: (task.query_modality, task.candidate_modality) for task in MBEIR_TASKS
}
"""M-BEIR's task number -> (query modality, candidate modality). Number 5 is unused."""

PAPER_ID: dict[int, int] = {task.mbeir_id: task.paper_id for task in MBEIR_TASKS}
"""M-BEIR's task number -> the paper's."""


PROMPTED_AS = {
    "CIRCO": "CIRR",
    "CIRR-rc2": "CIRR",
    "FashionIQ-dress": "FashionIQ",
    "FashionIQ-shirt": "FashionIQ",
    "FashionIQ-toptee": "FashionIQ",
}
"""Data sets outside M-BEIR -> the one whose prompts of Tables 11 to 13 they are asked with (CIRCO: section 5.3)."""


def prompt_label(task: Task) -> str:
    """The paper's row label whose prompts a task is asked with, e.g. "7/CIRR" for CIRCO."""
    return f"{task.paper_id}/{PROMPTED_AS.get(task.dataset, task.dataset)}"


class Counts(NamedTuple):
    """How large the published test split of a row is."""

    queries: int
    pool: int
    """Documents of the row's local pool."""
    qrels: int
    """Judged pairs with a positive relevance."""


PUBLISHED_COUNTS: dict[str, Counts] = {
    "visualnews_task0": Counts(19_995, 542_246, 20_000),
    "mscoco_task0": Counts(24_809, 5_000, 24_989),
    "fashion200k_task0": Counts(1_719, 201_824, 4_847),
    "webqa_task1": Counts(2_455, 544_457, 5_002),
    "edis_task2": Counts(3_241, 1_047_067, 8_341),
    "webqa_task2": Counts(2_511, 403_196, 3_627),
    "visualnews_task3": Counts(20_000, 537_568, 20_000),
    "mscoco_task3": Counts(5_000, 24_809, 24_989),
    "fashion200k_task3": Counts(4_889, 61_707, 4_889),
    "nights_task4": Counts(2_120, 40_038, 2_120),
    "oven_task6": Counts(50_004, 676_667, 492_654),
    "infoseek_task6": Counts(11_323, 611_651, 73_869),
    "fashioniq_task7": Counts(6_003, 74_381, 6_014),
    "cirr_task7": Counts(4_170, 21_551, 4_216),
    "oven_task8": Counts(14_741, 335_135, 261_258),
    "infoseek_task8": Counts(17_593, 481_782, 131_376),
}
"""Test split of M-BEIR by task name, from mteb's descriptive statistics. The pools sum to 5,609,079 documents."""

SINGLE_MODAL = range(1, 6)
"""The paper's task numbers whose queries have one modality."""

MULTI_MODAL = range(6, 9)
"""The paper's task numbers whose queries are an image with a text."""


def task_by_name(name: str, tasks: Sequence[Task] = MBEIR_TASKS) -> Task:
    """Look a task up by M-BEIR's evaluation name, e.g. "cirr_task7"; InputError lists the names when it is unknown."""
    for task in tasks:
        if task.name == name:
            return task
    known = ", ".join(task.name for task in tasks)
    raise InputError(f"task {name!r} is unknown", fix=f"use one of {known}")


def find_task(dataset_id: int, mbeir_id: int, tasks: Sequence[Task] = MBEIR_TASKS) -> Task:
    """Look a task up by M-BEIR's two numbers: the dataset's, and the task's (0 to 8)."""
    for task in tasks:
        if (task.dataset_id, task.mbeir_id) == (dataset_id, mbeir_id):
            return task
    known = ", ".join(f"({task.dataset_id}, {task.mbeir_id}) {task.name}" for task in tasks)
    raise InputError(f"dataset {dataset_id} has no task {mbeir_id}", fix=f"use one of (dataset, task) {known}")


def averages(values: Mapping[str, float], tasks: Sequence[Task] = MBEIR_TASKS) -> dict[str, float]:
    """Average a metric over rows as the paper does: plain means, not weighted by queries.

    Args:
        values: the metric of each task name; rows may be missing, unknown names are not counted.
        tasks: the table that says which rows have single-modal queries (paper tasks 1 to 5) and multi-modal ones

    Returns:
        "avg_all", "avg_single_modal" and "avg_multi_modal", each over the rows present, left out when there is none.
    """
    present = [task for task in tasks if task.name in values]
    groups = {
        "avg_all": present,
        "avg_single_modal": [task for task in present if task.paper_id in SINGLE_MODAL],
        "avg_multi_modal": [task for task in present if task.paper_id in MULTI_MODAL],
    }
    return {
        group: sum(values[task.name] for task in members) / len(members) for group, members in groups.items() if members
    }

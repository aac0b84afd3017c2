"""mteb's names of the paper's tasks: the 15 text tasks of its Table 9, and M-BEIR's 16 as MIEB has them."""

from __future__ import annotations

import re
from typing import NamedTuple

from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.types import Modality, Task

MTEB15 = {
    "ArguAna": "ArguAna",
    "ClimateFEVER": "Climate-FEVER",
    "CQADupstackRetrieval": "CQADupStack",
    "DBPedia": "DBPedia",
    "FEVER": "FEVER",
    "FiQA2018": "FiQA",
    "HotpotQA": "HotpotQA",
    "MSMARCO": "MSMARCO",
    "NFCorpus": "NFCorpus",
    "NQ": "NQ",
    "QuoraRetrieval": "Quora",
    "SCIDOCS": "SCIDOCS",
    "SciFact": "SciFact",
    "Touche2020": "Touche-2020",
    "TRECCOVID": "TREC-COVID",
}
"""mteb's name -> the paper's, in the order of its Table 9."""

MBEIR = {
    "VisualNewsT2IRetrieval": "visualnews_task0",
    "MSCOCOT2IRetrieval": "mscoco_task0",
    "Fashion200kT2IRetrieval": "fashion200k_task0",
    "WebQAT2TRetrieval": "webqa_task1",
    "EDIST2ITRetrieval": "edis_task2",
    "WebQAT2ITRetrieval": "webqa_task2",
    "VisualNewsI2TRetrieval": "visualnews_task3",
    "MSCOCOI2TRetrieval": "mscoco_task3",
    "Fashion200kI2TRetrieval": "fashion200k_task3",
    "NIGHTSI2IRetrieval": "nights_task4",
    "OVENIT2TRetrieval": "oven_task6",
    "InfoSeekIT2TRetrieval": "infoseek_task6",
    "FashionIQIT2IRetrieval": "fashioniq_task7",
    "CIRRIT2IRetrieval": "cirr_task7",
    "OVENIT2ITRetrieval": "oven_task8",
    "InfoSeekIT2ITRetrieval": "infoseek_task8",
}
"""mteb's name -> M-BEIR's evaluation name, in the order of the paper's Table 1."""

LOCAL = "local"
"""What the command line calls the tasks of a data directory."""


class Group(NamedTuple):
    """Tasks that are averaged together, by the name that the command line takes."""

    name: str
    members: tuple[str, ...]


GROUPS = (Group("mteb15", tuple(MTEB15)), Group("mbeir", tuple(MBEIR)))

VARIANT = re.compile(r"(HardNegatives|Decontaminated)?(\.v\d+)?$")
TEXT_DATASET = 100
"""Number of the data set of a text task: M-BEIR's own are below."""

CQADUPSTACK = re.compile(
    "cqadupstack(android|english|gaming|gis|mathematica|physics|programmers|stats|tex|unix|webmasters|wordpress)"
)
"""The English parts in lower case; translations have a language behind it."""


def _stem(name: str) -> str:
    """What a task and its variants have in common; mteb spells some of them in another case."""
    return name.removesuffix("Retrieval").removesuffix("2018").removeprefix("Nano").lower()


_STEMS = {_stem(name): paper for name, paper in MTEB15.items()}


def paper_task(name: str) -> Task | None:
    """The row of the paper's tables that a task of mteb's is, also in its variants; None for any other.

    Variants are the 12 parts of CQADupStack, `.v2` and `.v3`, HardNegatives, Decontaminated and NanoBEIR's.
    """
    if name in MBEIR:
        return task_by_name(MBEIR[name])
    stem = _stem(VARIANT.sub("", VARIANT.sub("", name).removesuffix("Retrieval")))
    if CQADUPSTACK.fullmatch(stem):
        stem = "cqadupstack"
    paper = _STEMS.get(stem)
    if paper is None:
        return None
    return Task(paper, TEXT_DATASET, 1, 9, Modality.TEXT, Modality.TEXT, cutoff=10)

"""How large published data sets are, and what must be downloaded before anything runs: numbers with their sources."""

from __future__ import annotations

from typing import NamedTuple

from lit_mmembed.data.tasks import PUBLISHED_COUNTS

MBEIR_TRAIN_QUERIES: dict[str, int] = {
    "visualnews_task0": 99_000,
    "mscoco_task0": 100_000,
    "fashion200k_task0": 15_000,
    "webqa_task1": 16_000,
    "edis_task2": 26_000,
    "webqa_task2": 16_000,
    "visualnews_task3": 100_000,
    "mscoco_task3": 113_000,
    "fashion200k_task3": 15_000,
    "nights_task4": 16_000,
    "oven_task6": 150_000,
    "infoseek_task6": 141_000,
    "fashioniq_task7": 16_000,
    "cirr_task7": 26_000,
    "oven_task8": 157_000,
    "infoseek_task8": 143_000,
}
"""Training queries of M-BEIR by task name, to the thousand (Table 8 of the paper)."""

MBEIR_VAL_QUERIES: dict[str, int] = {
    "visualnews_task0": 20_000,
    "mscoco_task0": 24_800,
    "fashion200k_task0": 1_700,
    "webqa_task1": 1_700,
    "edis_task2": 3_200,
    "webqa_task2": 1_700,
    "visualnews_task3": 20_000,
    "mscoco_task3": 5_000,
    "fashion200k_task3": 4_800,
    "nights_task4": 2_000,
    "oven_task6": 50_000,
    "infoseek_task6": 11_000,
    "fashioniq_task7": 2_000,
    "cirr_task7": 2_000,
    "oven_task8": 14_700,
    "infoseek_task8": 17_600,
}
"""Development queries of M-BEIR by task name, to the hundred (Table 8)."""

MBEIR_QUERIES: dict[str, dict[str, int]] = {
    "train": MBEIR_TRAIN_QUERIES,
    "val": MBEIR_VAL_QUERIES,
    "test": {name: counts.queries for name, counts in PUBLISHED_COUNTS.items()},
}
MBEIR_POOL_FILES: dict[str, float] = {"train": 478e6, "val": 48e6, "test": 2.43e9}
"""Bytes of `cand_pool/global/mbeir_union_SPLIT_cand_pool.jsonl` as huggingface.co lists them."""
MBEIR_TEST_POOL = sum(counts.pool for counts in PUBLISHED_COUNTS.values())
MBEIR_ARCHIVE = 3 * 48.3e9 + 24.4e9
"""Bytes of the four parts of `mbeir_images.tar.gz`."""


def mbeir_pool(split: str) -> int:
    """Documents of a split's global pool: published for test, from the size of its file for the others."""
    return round(MBEIR_TEST_POOL * MBEIR_POOL_FILES[split] / MBEIR_POOL_FILES["test"])


class Need(NamedTuple):
    """What must be there before anything runs."""

    name: str
    size: float
    """Bytes."""
    source: str
    """Where the number is from."""


MBEIR_NEED = Need("M-BEIR: images and JSON lines", MBEIR_ARCHIVE + 3.6e9, "TIGER-Lab/M-BEIR on huggingface.co")
"""The archive, and 3.6 GB of queries and pools (0.6 of queries, 3.0 of pools)."""
CIRCO_NEED = Need("COCO's unlabeled2017.zip (CIRCO)", 19e9, "cocodataset.org")
UNIIR_NEED = Need("UniIR's clip_sf_large.pth", 5.13e9, "TIGER-Lab/UniIR on huggingface.co")

CIRCO_IMAGES = 123_403
CIRCO_QUERIES = {"val": 220, "test": 800}
"""Pictures and queries of CIRCO as published (miccunifi/CIRCO)."""


class TextSet(NamedTuple):
    """A retrieval task of texts."""

    documents: int
    queries: int
    document_characters: int
    """Mean of a document's title and text."""
    query_characters: int
    pairs: int | None = None
    """Queries times documents, summed over its parts, where it has some."""

    @property
    def searched(self) -> int:
        """Pairs of a query and a document that an exact search compares."""
        return self.pairs or self.queries * self.documents

    @property
    def size(self) -> int:
        """Bytes of its texts, a byte a character."""
        return self.documents * self.document_characters + self.queries * self.query_characters


MTEB15_SETS: dict[str, TextSet] = {
    "ArguAna": TextSet(8_674, 1_406, 1030, 1193),
    "ClimateFEVER": TextSet(5_416_593, 1_535, 539, 123),
    "CQADupstackRetrieval": TextSet(457_199, 13_145, 932, 50, 577_811_563),
    "DBPedia": TextSet(4_635_922, 400, 310, 34),
    "FEVER": TextSet(5_416_568, 6_666, 539, 50),
    "FiQA2018": TextSet(57_638, 648, 767, 63),
    "HotpotQA": TextSet(5_233_329, 7_405, 289, 92),
    "MSMARCO": TextSet(8_841_823, 6_980, 336, 33),
    "NFCorpus": TextSet(3_633, 323, 1591, 22),
    "NQ": TextSet(2_681_468, 3_452, 493, 48),
    "QuoraRetrieval": TextSet(522_931, 10_000, 62, 52),
    "SCIDOCS": TextSet(25_657, 1_000, 1204, 72),
    "SciFact": TextSet(5_183, 300, 1499, 90),
    "Touche2020": TextSet(382_545, 49, 1720, 43),
    "TRECCOVID": TextSet(171_332, 50, 1117, 69),
}
"""BEIR's 15 of the paper's Table 9 by mteb's names, from its descriptive statistics (2.26): test; MSMARCO: dev."""

"""What a plan reads of the data: M-BEIR's published mix, or a data directory's own."""

from __future__ import annotations

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.tasks import PUBLISHED_COUNTS
from lit_mmembed.training.workload import mbeir, of_directory
from lit_mmembed.types import Modality


def test_the_pool_is_the_published_one():
    assert mbeir(instructions=True).pool_size == sum(counts.pool for counts in PUBLISHED_COUNTS.values()) == 5_609_079


def test_a_data_directory_gives_its_own_shares_and_lengths(tiny):
    found = of_directory(tiny.data, instructions=False)
    directory = DataDirectory(tiny.data)
    queries, pool = directory.queries("train"), directory.candidates("test")
    assert found.epoch == len(queries) and found.pool_size == len(pool)
    for modality in Modality:
        own = [kind for kind in found.queries if kind.modality is modality]
        samples = [sample for sample in queries if sample.modality is modality]
        assert sum(kind.count for kind in own) == len(samples)
        mean = sum(len(sample.text or "") for sample in samples) / max(1, len(samples)) / 4
        assert all(kind.text_tokens == round(mean) for kind in own)
    wanted = [directory.task(sample.task or "").candidate_modality for sample in queries]
    for modality in Modality:
        assert sum(k.count for k in found.documents if k.modality is modality) == wanted.count(modality)

"""What a plan reads of the data: M-BEIR's published mix, or a data directory's own."""

from __future__ import annotations

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.tasks import PUBLISHED_COUNTS
from lit_mmembed.training.workload import limited, mbeir, merged, mixed, of_directory
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


def test_a_mixture_has_each_source_by_its_share_and_the_first_ones_pool(tiny):
    ours, published = of_directory(tiny.data, instructions=False), mbeir(instructions=True, tasks=["mscoco_task0"])
    together = mixed([ours, published], [0.25, 0.75])
    assert together.epoch == ours.epoch + published.epoch and together.pool == ours.pool
    half = mixed([ours, ours], [0.5, 0.5])
    assert half.step(64, 1) == tuple(merged(ours.step(64, 1)))
    images = {Modality.IMAGE, Modality.IMAGE_TEXT}
    theirs = sum(kind.count for kind in published.step(100, 0) if kind.modality in images)
    own = sum(kind.count for kind in ours.step(100, 0) if kind.modality in images)
    found = sum(kind.count for kind in together.step(100, 0) if kind.modality in images)
    assert found == pytest.approx(0.25 * own + 0.75 * theirs)


def test_a_source_without_a_share_makes_no_epoch_longer(tiny):
    ours = of_directory(tiny.data, instructions=False)
    alone = mixed([ours, mbeir(instructions=False)], [1.0, 0.0])
    assert alone.epoch == ours.epoch and alone.step(8, 0) == ours.step(8, 0)


def test_a_limit_cuts_long_texts_of_its_side_alone():
    whole = mbeir(instructions=True)
    cut = limited(whole, None, 10)
    assert cut.queries == whole.queries and max(kind.text_tokens for kind in cut.documents) == 10
    assert cut.epoch == whole.epoch and sum(k.count for k in cut.documents) == sum(k.count for k in whole.documents)
    assert limited(whole, 4096, 4096) == whole

"""Splits as plans count them (Table 8, a data directory, CIRCO, mteb's texts), and the bytes that they become."""

from __future__ import annotations

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.names import MTEB15
from lit_mmembed.training import plan_disk
from lit_mmembed.training.devices import device
from lit_mmembed.training.plan_work import Span, Work, embedding, searching
from lit_mmembed.training.planned_encoder import planned_encoder
from lit_mmembed.training.planned_fit import Machine
from lit_mmembed.training.published import MTEB15_SETS, mbeir_pool
from lit_mmembed.training.splits import circo_split, directory_split, mbeir_split, text_split
from lit_mmembed.training.workload import INSTRUCTION_TOKENS, Kind, mbeir
from lit_mmembed.types import Modality, Side
from tests.training.test_plan import CLIP, llava

MACHINE = Machine(device("h100"), 8, 0.5)


def test_m_beirs_splits_have_table_8s_queries():
    """The last row of Table 8: 1.1M, 182K, 190K queries; 5.6M candidates."""
    train, val, test = (mbeir_split(name) for name in ("train", "val", "test"))
    assert train.queries == mbeir(instructions=True).epoch == 1_149_000
    assert round(val.queries, -3) == 182_000 and test.queries == 190_573
    assert test.documents == 5_609_079
    assert train.documents == pytest.approx(mbeir_pool("train")) and 1.0e6 < mbeir_pool("train") < 1.2e6


def test_a_row_alone_has_its_own_pool():
    found = mbeir_split("test", ["cirr_task7"])
    assert (found.queries, found.documents, found.global_pairs) == (4_170, 21_551, 4_170 * 21_551)
    assert mbeir(instructions=False, tasks=["cirr_task7"]).epoch == 26_000


def test_pairs_are_queries_times_documents_of_the_whole_pool_or_of_each_tasks_own():
    test = mbeir_split("test")
    assert test.global_pairs == 190_573 * 5_609_079
    assert test.local_pairs == sum(one.queries * one.pool for one in test.asked) < test.global_pairs


def test_a_data_directory_is_counted_as_it_is(tiny):
    found, directory = directory_split(tiny.data, "test"), DataDirectory(tiny.data)
    assert (found.queries, found.documents) == (len(directory.queries("test")), len(directory.candidates("test")))
    pools = {name: len(rows) for name, rows in directory.pools("test").items() if len(rows)}
    assert {one.task.name: one.pool for one in found.asked} == pools
    for kind in found.pool:
        assert kind.count == sum(sample.modality is kind.modality for sample in directory.candidates("test"))


def test_validation_over_local_pools_has_the_documents_of_test_and_its_own_queries():
    val, local, test = mbeir_split("val"), mbeir_split("val", pool_of_val="local"), mbeir_split("test")
    assert local.documents == test.documents > 5e6 > 2e5 > val.documents
    assert local.queries == val.queries != test.queries


def test_an_instruction_is_added_to_queries_alone():
    split = mbeir_split("val")
    plain, asked = (split.rows(Side.QUERY, instructions=on) for on in (False, True))
    assert {kind.text_tokens for kind in asked} == {kind.text_tokens + INSTRUCTION_TOKENS for kind in plain}
    assert split.rows(Side.CANDIDATE, instructions=True) == split.rows(Side.CANDIDATE, instructions=False)


def test_circo_searches_its_whole_gallery_in_each_split():
    for name, queries in (("val", 220), ("test", 800)):
        found = circo_split(name)
        assert (found.queries, found.documents) == (queries, 123_403)
    with pytest.raises(InputError, match="no split 'train'"):
        circo_split("train")


def test_mtebs_sets_are_the_papers_fifteen_and_mean_lengths_are_a_quarter_of_their_characters():
    assert list(MTEB15_SETS) == list(MTEB15)
    found = text_split("MSMARCO", MTEB15_SETS["MSMARCO"])
    assert (found.queries, found.documents, found.pool[0].text_tokens) == (6_980, 8_841_823, 84)
    parts = MTEB15_SETS["CQADupstackRetrieval"]
    assert text_split("CQADupStack", parts).local_pairs == pytest.approx(577_811_563)
    assert parts.searched < parts.queries * parts.documents


def test_an_exact_search_has_2_q_n_d_flops_in_fp32_on_all_gpus():
    found = searching(1000 * 200, 4096, MACHINE)
    assert found.flops == 2 * 1000 * 200 * 4096
    assert found.gpu_hours == pytest.approx(found.flops / (67e12 * 0.5) / 3600)
    assert found.wall_hours == pytest.approx(found.gpu_hours / 8)


def test_half_precision_weights_embed_in_it_and_whole_ones_in_what_is_asked_for():
    rows = (Kind(Side.CANDIDATE, Modality.TEXT, 100, 40),)
    half, whole = planned_encoder(llava()), planned_encoder(CLIP)
    assert embedding(half, rows, MACHINE, precision="32-true") == embedding(half, rows, MACHINE)
    exact, mixed = (embedding(whole, rows, MACHINE, precision=name) for name in ("32-true", "bf16-mixed"))
    assert exact.gpu_hours == pytest.approx(2 * mixed.gpu_hours)


def test_a_model_folder_and_a_resume_point_have_what_was_trained():
    encoder = planned_encoder(llava())
    weights = {name: part.parameters for name, part in encoder.parts.items()}
    trained = weights["adapters"] + weights["projector"]
    assert plan_disk.own_weights(encoder) == 4 * trained
    frozen = 2 * (weights["vision tower"] + weights["language model"])
    assert plan_disk.resume_point(encoder) - plan_disk.SMALL == 12 * trained
    assert plan_disk.resume_point(encoder, "deepspeed_stage_2") - plan_disk.SMALL == frozen + 12 * trained
    whole = planned_encoder(CLIP)
    assert plan_disk.own_weights(whole) == 4 * 427_616_513
    assert plan_disk.resume_point(whole) - plan_disk.SMALL == 12 * 427_616_513


def test_a_pooling_without_a_checkpoint_lies_in_the_model_folder():
    sizes = []
    for more in ({}, {"checkpoint": "nvidia/NV-Embed-v1"}):
        pooling = {"class_path": "LatentAttentionPooling", "init_args": {"width": 4096, **more}}
        sizes.append(plan_disk.own_weights(planned_encoder(llava(pooling=pooling))))
    assert sizes[0] - sizes[1] == 4 * 740_356_096


def test_shards_hold_an_image_as_often_as_rows_have_it(tiny):
    directory = DataDirectory(tiny.data)
    readers = [directory.queries(split) for split in directory.splits]
    readers += [directory.candidates(split) for split in directory.splits]
    images = [len(sample.image) for reader in readers for sample in reader if sample.image is not None]
    samples = sum(len(reader) for reader in readers)
    real = sum(reader.manifest["bytes"] + reader.manifest["index"]["bytes"] for reader in readers)
    planned = plan_disk.shard_sets(samples, len(images), sum(images) / len(images))
    assert planned == pytest.approx(real, rel=0.15)


def test_the_wall_clock_of_a_stage_is_that_of_its_parts_one_after_another():
    work = Work({"embedding": Span(6.0, 1, 1.0), "search": Span(8.0, 8, 1.0)}, {"stores": 10.0, "ranking": 5.0})
    assert (work.gpu_hours, work.wall_hours, work.left, work.gpus) == (14.0, 7.0, 15.0, 1)
    assert (Work().gpu_hours, Work().gpus) == (0, 0)

"""The continual stage by the command line: M_rand, M_hard, negatives mined again, a teacher of texts, the mixture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lit_mmembed.files import file_hash
from tests.cli.test_mllm_story import MINE, STEPS, fit
from tests.data.text_sets import write_words
from tests.tiny import ROOT, Tiny, done, json_lines, mmembed, rows

NAME = "nv_embed_llava"


@pytest.fixture(scope="module")
def story(tiny: Tiny, tmp_path_factory) -> Path:
    """M_rand and M_hard; what M_hard mines with M_rand's first kind kept; a text set with what M_hard mines of it."""
    folder = tmp_path_factory.mktemp("mm_embed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        write_words(folder / "words", own_negatives=False)
        fit(tiny, NAME, folder / "rand", *MINE)
        fit(tiny, NAME, folder / "hard", data__negatives=folder / "rand/negatives.parquet")
    teacher = ("mine", "--teacher", folder / "hard/model", "--tokens", 500)
    again = ("--rules", "unsatisfying", "--k-prime", 15, "--depth", 18)
    kept = ("--keep", folder / "rand/negatives.parquet", "--keep-kinds", "wrong_modality")
    done(*teacher, "--data", tiny.data, *again, *kept, "--out", folder / "again.parquet")
    words = ("--data", folder / "words/shards", "--pool", "local", "--rules", "positive_aware", "--fraction", "0.999")
    done(*teacher, *words, "--out", folder / "words.parquet")
    return folder


def continual(tiny: Tiny, story: Path, folder: Path, *flags: str, negatives: str | None = None, **settings) -> Path:
    source = {"path": str(story / "words/shards"), "negatives": negatives or str(story / "words.parquet")}
    mixture = {"weights": "uniform", "candidate_length": 128, "sources": [{**source, "candidate_length": 512}]}
    given = {"data__negatives": story / "again.parquet", "model__weights": story / "hard/model"}
    return fit(tiny, NAME, folder, f"--data.mixture={json.dumps(mixture)}", *flags, **{**given, **settings})


@pytest.fixture(scope="module")
def mm_embed(tiny: Tiny, story: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        settings = {"model__encoder__init_args__candidate_length": 512, "model__optimization__lr": 6e-4}
        return continual(tiny, story, story / "continual", **settings)


def of_kind(path: Path, kind: str) -> list[tuple]:
    return sorted((row["qid"], row["did"], row["rank"]) for row in rows(path) if row["kind"] == kind)


def test_first_kind_negatives_are_m_rands_and_second_kind_ones_are_mined_again(story):
    before, after = story / "rand/negatives.parquet", story / "again.parquet"
    assert of_kind(after, "wrong_modality") == of_kind(before, "wrong_modality") != []
    assert of_kind(after, "unsatisfying") != of_kind(before, "unsatisfying")


def test_the_teachers_negatives_of_texts_are_in_the_form_of_all_others(story):
    found = rows(story / "words.parquet")
    assert {row["kind"] for row in found} == {"positive_aware"} and set(found[0]) == {
        "qid",
        "did",
        "kind",
        "rank",
        "score",
    }
    assert all(row["did"].partition(":")[2] != row["qid"].partition(":")[2] for row in found)


def test_the_continual_stage_goes_on_from_m_hard_on_both_and_records_it(story, mm_embed):
    record = json.loads((mm_embed / "model/record.json").read_text())
    assert [source["share"] for source in record["mixture"]] == [0.5, 0.5]
    assert record["mixture"][1]["negatives_hash"] == file_hash(story / "words.parquet")
    assert record["mixture"][1]["candidate_length"] == 512
    assert record["config"]["model"]["weights"] == str(story / "hard/model")
    assert len([row for row in json_lines(mm_embed / "log.jsonl") if "train/loss" in row]) == STEPS


def test_without_a_step_the_weights_are_m_hards(story, tiny, tmp_path, from_root):
    """A longer limit of tokens changes no weight."""
    folder = continual(tiny, story, tmp_path / "still", trainer__max_steps=0)
    weights = "model/weights.safetensors"
    assert (folder / weights).read_bytes() == (story / "hard" / weights).read_bytes()


def test_the_model_is_evaluated_on_both_and_keeps_its_longer_limit(mm_embed, story, tiny):
    assert json.loads((mm_embed / "model/encoder.json").read_text())["init_args"]["candidate_length"] == 512
    for data, split in ((tiny.data, "test"), (story / "words/shards", "train")):
        out = mm_embed / f"evaluate_{split}"
        done("evaluate", "--model", mm_embed / "model", "--data", data, "--split", split, "--out", out, "--tokens", 500)
        assert (out / "scores.jsonl").stat().st_size


def test_negatives_of_other_data_and_a_rule_without_a_limit_are_refused(story, tiny, tmp_path, from_root):
    with pytest.raises(AssertionError, match=r"has a document that .*words/shards/candidates/train lacks"):
        continual(tiny, story, tmp_path / "run", negatives=str(story / "again.parquet"))
    out = tmp_path / "n.parquet"
    flags = ("--data", story / "words/shards", "--rules", "positive_aware", "--out", out)
    ran = mmembed("mine", "--teacher", story / "hard/model", *flags)
    assert ran.status == 2 and "positive_aware has no limit" in ran.err and not out.exists()

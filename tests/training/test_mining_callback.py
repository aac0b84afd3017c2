"""MineNegatives with rules of one's own, over local pools, and mining again for the continual stage."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_mmembed.files import file_hash
from tests.tiny import Tiny, done, files_below, mmembed, rows

CALLBACK = """
trainer:
  callbacks+:
    - class_path: lit_mmembed.training.callbacks.mining.MineNegatives
      init_args:
        folder: ${{folder}}
        depth: 20
        k_prime: 15
        {more}
"""
RULES = """rules:
          - class_path: lit_mmembed.mining.rules.Unsatisfying
            init_args: {k_prime: 10, depth: 18}
          - class_path: lit_mmembed.mining.rules.PositiveAware
            init_args: {fraction: 0.98, last: 20, per_query: 3, choose: random, seed: 5}
        pool: local"""


def fit(tiny: Tiny, folder: Path, more: str) -> list[str]:
    """The command line of a short fit that mines at its end."""
    config = folder.with_suffix(".yaml")
    config.write_text(CALLBACK.format(more=more))
    return tiny.fit(folder, "-c", config, trainer__max_steps=3)


def of_kind(file: Path, kind: str) -> list[dict]:
    return [row for row in rows(file) if row["kind"] == kind]


def test_a_later_stage_keeps_first_kind_negatives_and_mines_second_kind_ones_again(tiny, tiny_run, tmp_path):
    old, folder = tiny_run / "negatives.parquet", tmp_path / "hard"
    done(*fit(tiny, folder, f"keep: {old}"))
    new, alone = folder / "negatives.parquet", tmp_path / "alone.parquet"
    done("mine", "--teacher", folder / "model", "--data", tiny.data, "--depth", 20, "--k-prime", 15, "--out", alone)
    assert of_kind(old, "wrong_modality")
    assert of_kind(alone, "wrong_modality") != of_kind(old, "wrong_modality")
    assert of_kind(alone, "unsatisfying") != of_kind(old, "unsatisfying")
    assert of_kind(new, "wrong_modality") == of_kind(old, "wrong_modality")
    assert of_kind(new, "unsatisfying") == of_kind(alone, "unsatisfying")
    assert len(rows(new)) == len(of_kind(old, "wrong_modality")) + len(of_kind(alone, "unsatisfying"))
    record = json.loads(pq.read_schema(new).metadata[b"mmembed"])["mining"]
    assert record["kept"] == {"hash": file_hash(old), "kinds": ["wrong_modality"]}


def test_rules_of_the_yaml_are_applied_as_the_command_line_applies_them(tiny, tmp_path):
    folder = tmp_path / "run"
    done(*fit(tiny, folder, RULES))
    aware = ("--rules", "positive_aware", "--fraction", 0.98, "--per-query", 3, "--choose", "random", "--seed", 5)
    low = ("--rules", "unsatisfying", "--k-prime", 10)
    from_here = ("mine", "--teacher", folder / "model", "--data", tiny.data, "--pool", "local")
    done(*from_here, *aware, "--depth", 20, "--last", 20, "--out", tmp_path / "aware")
    done(*from_here, *low, "--depth", 18, "--out", tmp_path / "low")
    mined = folder / "negatives.parquet"
    assert of_kind(mined, "positive_aware") == rows(tmp_path / "aware") != []
    assert of_kind(mined, "unsatisfying") == rows(tmp_path / "low") != []
    statistics = json.loads((folder / "statistics.json").read_text())["tasks"]
    assert all(0 <= row["positive_aware_without_survivor"] <= 1 for row in statistics.values())
    assert not (folder / "mining").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("keep: {folder}/kept.parquet", "kept.parquet: query {qid}, document {did}: is positive and negative at once"),
        ("keep: {folder}/nowhere", "nowhere: does not exist"),
        ("rules: [{{class_path: lit_mmembed.mining.rules.PositiveAware}}]", "positive_aware has no limit"),
    ],
)
def test_what_cannot_be_mined_with_ends_the_run_before_training(tiny, tiny_run, tmp_path, more, message):
    row = rows(tiny_run / "negatives.parquet")[0] | {"kind": "wrong_modality"}
    pair = {"qid": row["qid"], "did": positive_of(tiny, row["qid"])}
    pq.write_table(pa.Table.from_pylist([row | pair]), tmp_path / "kept.parquet")
    ran = mmembed(*fit(tiny, tmp_path / "run", more.format(folder=tmp_path)))
    assert ran.status == 2
    assert message.format(**pair) in ran.err
    assert not {"model/encoder.json", "negatives.parquet", "resume.ckpt"} & set(files_below(tmp_path / "run"))
    assert not (tmp_path / "run/log.jsonl").exists() or not (tmp_path / "run/log.jsonl").read_text()


def positive_of(tiny: Tiny, qid: str) -> str:
    lines = (line.split() for line in (tiny.data / "qrels/train.txt").read_text().splitlines())
    return next(did for query, _, did, *_ in lines if query == qid)

"""`mmembed plan` of training on several sources: each by its share where it is there, and said where it is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.test_planning import ENCODER, TRAINING
from tests.data.sources.texts import forms
from tests.tiny import Tiny, done, mmembed

QUERIES = 60


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions whose passages have 800 characters."""
    folder = tmp_path_factory.mktemp("texts")
    rows = [[f"Question {number}?", f"{number:03} " * 200] for number in range(QUERIES)]
    done(
        "shard", "--source", "pairs", "--root", forms.write_jsonl(folder / "train.jsonl", rows), "--out", folder / "out"
    )
    return folder / "out"


def planned(tiny: Tiny, tmp_path: Path, mixture: dict | None) -> dict:
    file = tmp_path / "plan.json"
    change = [f"data.mixture={json.dumps(mixture)}"] if mixture else []
    long = "model.encoder.init_args.candidate_length=512"
    changes = ("--set", *change, long, "data.batch_size=32", "trainer.max_epochs=4")
    done("plan", "-c", ENCODER, "-c", TRAINING, "--data", tiny.data, *changes, "--json", file)
    return next(iter(json.loads(file.read_text()).values()))


def test_a_step_and_an_epoch_have_each_source_by_its_share(tiny, texts, tmp_path):
    alone = planned(tiny, tmp_path, None)
    uniform = planned(tiny, tmp_path, {"weights": "uniform", "sources": [{"path": str(texts)}]})
    assert uniform["step"]["images"] == pytest.approx(alone["step"]["images"] / 2)
    assert uniform["step"]["tokens"] > alone["step"]["tokens"] / 2 + 16 * 150
    assert uniform["time"]["steps_per_epoch"] == (40 + QUERIES) // 32
    assert uniform["pool"] == alone["pool"]
    assert any(f"training draws 50% of {texts}" in text for text in uniform["assumptions"])
    given = {"weights": "given", "weight": 3, "sources": [{"path": str(texts), "weight": 1}]}
    assert planned(tiny, tmp_path, given)["step"]["images"] == pytest.approx(alone["step"]["images"] * 0.75)
    proportional = planned(tiny, tmp_path, {"sources": [{"path": str(texts)}]})
    assert proportional["step"]["images"] == pytest.approx(alone["step"]["images"] * 40 / (40 + QUERIES))


def test_a_limit_of_a_source_counts(tiny, texts, tmp_path):
    source = {"path": str(texts)}
    long, short = (
        planned(tiny, tmp_path, {"weights": "uniform", "sources": [{**source, **limit}]})["step"]["tokens"]
        for limit in ({}, {"candidate_length": 50})
    )
    assert long - short == pytest.approx(16 * (200 - 50))


def test_a_source_that_is_not_there_yet_is_said(tiny, tmp_path):
    missing = {"weights": "uniform", "sources": [{"path": str(tmp_path / "later")}]}
    plan, alone = planned(tiny, tmp_path, missing), planned(tiny, tmp_path, None)
    assert plan["step"] == alone["step"]
    assert any(f"data.mixture's {tmp_path / 'later'} is not there yet" in text for text in plan["assumptions"])


@pytest.mark.parametrize(
    ("mixture", "told"),
    [
        ({"weights": "given", "sources": [{"path": "PATH"}]}, "the weight of data.path is None"),
        ({"wieghts": "uniform"}, "wieghts"),
        ({"sources": [{"negatives": "own"}]}, "'path'"),
    ],
)
def test_a_mixture_that_cannot_be_is_one_line(mixture, told, texts):
    mixture = yaml.safe_load(json.dumps(mixture).replace("PATH", str(texts)))
    ran = mmembed("plan", "-c", ENCODER, "-c", TRAINING, "--set", f"data.mixture={json.dumps(mixture)}")
    assert ran.status == 2 and told in ran.err and ran.err.count("\n") == 1

"""`Results` of a recipe that embeds, mines and evaluates in stages of their own, as those for real data do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_mmembed import Results
from lit_mmembed.errors import InputError
from lit_mmembed.results.run import NEGATIVES_FILE
from tests.cli.test_plan_recipe import write
from tests.tiny import ROOT, Tiny, done

SHARDS = "${stage:data}/shards"
TEST = {"data": SHARDS, "split": "test", "out": "${folder}"}
CONFIGS = ["experiments/encoders/clip_sf_tiny.yaml", "experiments/emoji_beir/train.yaml"]


def recipe(tiny: Tiny) -> dict:
    """A model, its stores, and evaluations of the stores, of the model and of a ranking."""
    flags = [flag for flag in tiny.fit(Path(), trainer__max_steps=1) if flag.startswith("--")]
    fitted = {**dict(flag[2:].split("=", 1) for flag in flags), "data.path": SHARDS}
    del fitted["folder"]
    embedded = {**fitted, "data.predict": "test", "model.weights": "${stage:rand}/model"}
    mined = {"stores": "${stage:embed}", **TEST, "out": f"${{folder}}/{NEGATIVES_FILE}"}

    def evaluate(label: str, **given: str) -> dict:
        return {"command": "evaluate", "labels": {"model": label}, "arguments": {**TEST, **given}}

    return {
        "data": {
            "command": "shard",
            "arguments": {"source": "mbeir", "root": str(tiny.source), "out": "${folder}/shards"},
        },
        "rand": {"command": "fit", "config": CONFIGS, "arguments": fitted},
        "embed": {"command": "predict", "config": [*CONFIGS, "experiments/predict.yaml"], "arguments": embedded},
        "mined": {"command": "mine", "arguments": mined},
        "evaluate": evaluate("of stores", stores="${stage:embed}"),
        "embedded": evaluate("of a model", model="${stage:rand}/model"),
        "ranked": evaluate("of a ranking", run="${stage:evaluate}/run.parquet"),
    }


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, moved since."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        done("run", write(out / "small.yaml", "small", recipe(tiny)), "--out", out / "runs")
    return (out / "runs/small").rename(out / "moved")


def test_negatives_of_a_mine_stage_come_with_the_data_that_it_names(run) -> None:
    negatives = Results(run).negatives(stage="mined", split="test")
    qid = negatives.queries()[0]
    assert negatives.query(qid).positives
    assert negatives.of(qid)[0].document.id not in negatives.query(qid).positives


@pytest.mark.parametrize("model", ["of stores", "of a model"])
def test_an_evaluation_of_stores_has_their_model_and_their_vectors(run, model) -> None:
    results = Results(run)
    assert results.model(model=model) == run / "seed0/main/rand/model"
    queries, candidates = results.stores(model=model)
    assert (len(queries), len(candidates)) == (16, 72)
    made = {"of stores": "embed", "of a model": "embedded/stores"}[model]
    assert queries.path == run / "seed0/main" / made / "queries"


def test_what_is_not_recorded_is_said(run, tmp_path) -> None:
    with pytest.raises(InputError, match=r"main/ranked: names no model folder \(fix: choose an evaluation of a model"):
        Results(run).model(model="of a ranking")
    copied = shutil.copytree(run, tmp_path / "copied")
    shutil.rmtree(copied / "seed0/main/rand/model")
    with pytest.raises(InputError, match="main/rand/model: is no longer there"):
        Results(copied).model(model="of stores")
    for stage, name in (("embed", "model.weights"), ("mined", "data"), ("ranked", "data")):
        mark = copied / f"seed0/main/{stage}/stage.json"
        content = json.loads(mark.read_text())
        del content["arguments"][name]
        mark.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match=r"main/evaluate: names no model folder, and no stage whose stores it was given"
    ):
        Results(copied).model(model="of stores")
    with pytest.raises(InputError, match=r"main/mined: does not say what was mined"):
        Results(copied).negatives(stage="mined")
    with pytest.raises(InputError, match="main/ranked: names no data directory"):
        Results(copied).answers(model="of a ranking")

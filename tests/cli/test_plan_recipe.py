"""`mmembed plan RECIPE`: every stage has a line, sums are sums, and sizes are those of what the stages then write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lit_mmembed.data.tasks import PUBLISHED_COUNTS
from tests.tiny import Tiny, done

LLAVA = "data_shards/emoji_initial/llava"
FITTED = {
    "data.path": "${stage:data}/shards",
    "data.batch_size": 8,
    "trainer.max_steps": 2,
    "trainer.val_check_interval": None,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": False,
    "model.encoder.init_args.backbone.init_args.path": LLAVA,
}
ENCODER = "experiments/encoders/llava_e_tiny.yaml"
TRAINING = "experiments/emoji_beir/train_mllm.yaml"
EMBEDDED = {"rows": 64, "tokens": 4096, "data": "${stage:data}/shards", "split": "test", "out": "${folder}"}


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


def plan(out: Path, recipe: Path | str, *flags: object) -> dict:
    file = out / "plan.json"
    done("plan", recipe, "--out", out / "runs", "--json", file, *flags)
    return json.loads(file.read_text())


def stages_of(plan: dict) -> dict[str, dict]:
    return {stage["stage"]: stage for stage in plan["stages"]}


def write(path: Path, name: str, stages: dict, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"name": name, "stages": stages, **more}, sort_keys=False))
    return path


def shard_stage(root: object, **more: object) -> dict:
    arguments = {"source": "mbeir", "root": str(root), "out": "${folder}/shards", **more}
    return {"command": "shard", "shared": True, "arguments": arguments}


def small_story(tiny: Tiny) -> dict:
    predicted = {key: value for key, value in FITTED.items() if key != "trainer.val_check_interval"}
    rerank = {"run": "${stage:evaluate}", "data": "${stage:data}/shards", "k": 3, "model": LLAVA}
    return {
        "data": shard_stage(tiny.source),
        "rand": {"command": "fit", "config": [ENCODER, TRAINING, "experiments/mine.yaml"], "arguments": FITTED},
        "embed": {
            "command": "predict",
            "config": [ENCODER, TRAINING, "experiments/predict.yaml"],
            "arguments": {**predicted, "data.predict": "test", "model.weights": "${stage:rand}/model"},
        },
        "evaluate": {"command": "evaluate", "arguments": {**EMBEDDED, "stores": "${stage:embed}", "rows": 64}},
        "embedded": {"command": "evaluate", "arguments": {**EMBEDDED, "model": "${stage:rand}/model"}},
        "reranked": {"command": "rerank", "arguments": {**rerank, "out": "${folder}/run.parquet"}},
    }


@pytest.fixture(scope="module")
def run_story(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A recipe, the folder of its runs, and its plan from before it was run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parents[2])
        out = tmp_path_factory.mktemp("planned")
        recipe = write(out / "small.yaml", "small", small_story(tiny))
        before = plan(out, recipe, "--data", tiny.data)
        done("run", recipe, "--out", out / "runs")
    return recipe, out, before


def test_a_recipe_can_be_planned_before_and_then_has_the_sizes_that_were_planned(run_story):
    _, out, before = run_story
    left = {name: stage["disk"] for name, stage in stages_of(before).items()}
    run = out / "runs/small/seed0/main"
    weights = (run / "rand/model/weights.safetensors").stat().st_size
    assert left["rand"]["model"] - (1 << 16) == pytest.approx(weights, rel=0.02)
    assert left["rand"]["resume.ckpt"] == pytest.approx((run / "rand/resume.ckpt").stat().st_size, rel=0.03)
    for folder, side in (("embed", "query"), ("embed", "candidate")):
        store = run / folder / {"query": "queries", "candidate": "candidates"}[side]
        vectors = (store / "vectors.npy").stat().st_size - 128  # numpy's header
        rows = json.loads((store / "manifest.json").read_text())["count"]
        assert left["embed"][f"store of {side}"] - 6 * rows == vectors
    both = sum((run / f"embedded/stores/{side}/vectors.npy").stat().st_size - 128 for side in ("queries", "candidates"))
    assert left["embedded"]["stores"] - 6 * (16 + 72) == both
    shards = sum(file.stat().st_size for file in (out / "runs/small/shared/data/shards").rglob("*") if file.is_file())
    assert left["data"]["shards"] == pytest.approx(shards, rel=0.15)


def test_what_is_done_costs_nothing_more(run_story):
    recipe, out, before = run_story
    after = plan(out, recipe)
    assert all(stage["done"] for stage in after["stages"]) and not any(stage["done"] for stage in before["stages"])
    assert after["total"]["gpu_hours"] == after["total"]["disk"] == 0 < before["total"]["gpu_hours"]
    assert after["total"]["done"] == len(after["stages"])
    printed = done("plan", recipe, "--out", out / "runs").out
    assert printed.count(" done\n") == 6 and "6 are done" in printed


def test_a_change_takes_up_what_it_changes_and_leaves_the_rest_done(run_story, tiny):
    recipe, out, _ = run_story
    shutil.copy(recipe, changed := recipe.with_name("changed.yaml"))
    content = yaml.safe_load(changed.read_text())
    content["stages"]["reranked"]["arguments"]["k"] = 4
    changed.write_text(yaml.safe_dump(content))
    again = plan(out, changed)
    assert [stage["stage"] for stage in again["stages"] if not stage["done"]] == ["reranked"]
    assert stages_of(again)["reranked"]["counts"]["questions"] == 16 * 4  # of the split that was sharded


def test_a_stage_that_another_run_folder_has_finished_is_done_and_its_data_are_read_there(run_story):
    recipe, out, _ = run_story
    content = yaml.safe_load(recipe.read_text())
    content["name"] = "other"
    content["stages"]["rand"]["arguments"]["trainer.max_steps"] = 3
    found = plan(out, write(out / "other.yaml", "other", content["stages"]))
    assert stages_of(found)["data"]["done"] and not stages_of(found)["rand"]["done"]
    assert stages_of(found)["embed"]["counts"] == {"query": 16, "candidate": 72}


def test_the_total_is_the_sum_of_the_stages_and_equal_stages_of_several_recipes_count_once(tmp_path):
    evaluated = {"data": "${stage:data}/shards", "split": "test", "out": "${folder}", "model": "${stage:uniir}/model"}
    shared = {
        "data": shard_stage("M-BEIR"),
        "uniir": {"command": "convert", "shared": True, "arguments": {"uniir": "clip.pth", "out": "${folder}/model"}},
    }
    for name, split in (("one", "test"), ("two", "val")):
        stage = {"command": "evaluate", "arguments": {**evaluated, "split": split}}
        write(tmp_path / f"{name}.yaml", name, {**shared, "evaluate": stage})
    both = write(
        tmp_path / "both.yaml",
        "both",
        {"report": {"command": "report", "always": True, "arguments": {"run_dir": "${run_dir}", "out": "${folder}"}}},
        recipes=["one.yaml", "two.yaml"],
    )
    found = plan(tmp_path, both, "--gpus", 8)
    counted = [stage for stage in found["stages"] if stage["counted"]]
    assert [(s["recipe"], s["stage"]) for s in found["stages"] if s["same_as"]] == [("two", "data"), ("two", "uniir")]
    for total, part in (("gpu_hours", "gpu_hours"), ("wall_hours", "wall_hours"), ("disk", "left")):
        assert found["total"][total] == pytest.approx(sum(stage[part] for stage in counted))
        assert found["total"][total] == pytest.approx(sum(recipe[total] for recipe in found["recipes"].values()))
    assert found["recipes"]["two"]["counted"] == 1 and set(found["recipes"]) == {"one", "two", "both"}
    assert [need["name"].split()[0] for need in found["needs"]] == ["M-BEIR:", "UniIR's"]
    assert found["needs"][0]["size"] == pytest.approx(173e9, rel=0.01)


def test_several_recipes_are_a_table_of_each_alone_and_what_they_share_is_in_the_sum_once(tmp_path):
    model = {"command": "convert", "shared": True, "arguments": {"uniir": "clip.pth", "out": "${folder}/model"}}
    for name in ("base", "one", "two"):
        content = {} if name == "base" else {"recipes": ["base.yaml"]}
        own = {"own": shard_stage("M-BEIR", tasks=[{"one": "cirr_task7"}.get(name, "nights_task4")])}
        write(tmp_path / f"{name}.yaml", name, {"model": model} if name == "base" else own, **content)
    file = tmp_path / "plan.json"
    recipes = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    printed = done("plan", *recipes, "--out", tmp_path / "runs", "--json", file).out
    found = json.loads(file.read_text())
    alone = [found["alone"][name]["total"]["disk"] for name in ("one", "two")]
    assert sum(alone) - found["total"]["disk"] == pytest.approx(4 * 427_616_513)
    assert [line.split()[0] for line in printed.splitlines()[:4]] == ["recipe", "one", "two", "all"]


def test_what_uses_one_gpu_takes_as_long_whatever_the_number_of_gpus(tmp_path):
    stages = {
        "data": shard_stage("M-BEIR"),
        "model": {"command": "convert", "arguments": {"uniir": "clip.pth", "out": "${folder}/model"}},
        "evaluate": {
            "command": "evaluate",
            "arguments": {"model": "${stage:model}/model", "data": "${stage:data}/shards", "out": "${folder}"},
        },
    }
    recipe = write(tmp_path / "recipe.yaml", "recipe", stages)
    one, eight = (stages_of(plan(tmp_path, recipe, "--gpus", n))["evaluate"] for n in (1, 8))
    assert one["gpu_hours"] == pytest.approx(eight["gpu_hours"])
    assert one["time"]["embedding"]["gpus"] == eight["time"]["embedding"]["gpus"] == eight["gpus"] == 1
    queries, documents = 190_573, 5_609_079
    local = sum(counts.queries * counts.pool for counts in PUBLISHED_COUNTS.values())
    assert eight["time"]["search"]["flops"] == pytest.approx(2 * 768 * (queries * documents + local))


def test_what_cannot_be_planned_says_why_and_the_sum_is_at_least(tmp_path):
    stages = {
        "texts": {"command": "shard", "arguments": {"source": "texts", "root": "texts", "out": "${folder}/shards"}},
        "llava": {"command": "initial", "arguments": {"kind": "llava_next", "out": "${folder}/model"}},
        "fit": {"command": "fit", "config": [ENCODER, TRAINING], "arguments": {"data.path": "${stage:texts}/shards"}},
        "asked": {"command": "rerank", "arguments": {"run": "x", "data": "${stage:texts}/shards", "model": "m"}},
    }
    recipe = write(tmp_path / "recipe.yaml", "recipe", stages)
    found = plan(tmp_path, recipe)
    assert found["total"]["not_planned"] == 4 and found["total"]["gpu_hours"] == 0
    printed = done("plan", recipe, "--out", tmp_path).out
    assert "not planned: the data of stage texts are not there yet" in printed
    assert "not planned: what `mmembed initial` needs is not counted" in printed
    assert "at least: 4 are not planned" in printed and ">= 0" in printed


@pytest.mark.parametrize("table", ["1", "2", "3", "4", "5", "6", "7", "9"])
def test_every_table_of_the_paper_is_planned_but_for_text_sets_of_the_users_own(table, tmp_path):
    found = plan(tmp_path, f"experiments/paper/table{table}.yaml", "--gpus", 8)
    left_out = {stage["stage"] for stage in found["stages"] if stage["not_planned"]}
    assert left_out <= {"text_sets", "text_negatives"}
    assert found["total"]["gpu_hours"] > 10 and found["needs"][0]["name"].startswith("M-BEIR")


def test_a_small_recipe_can_be_planned_before_there_are_data(tmp_path):
    found = plan(tmp_path, "experiments/emoji_beir/quickstart.yaml")
    assert "the data of stage data are not there yet: give --data" in {s["not_planned"] for s in found["stages"]}

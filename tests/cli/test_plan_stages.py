"""What `mmembed plan` says of each kind of stage, by hand-worked numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_mmembed.data.tasks import PUBLISHED_COUNTS
from lit_mmembed.training.published import MTEB15_SETS
from tests.cli.test_plan_recipe import plan, shard_stage, stages_of, write

LLAVA_E = ["experiments/encoders/llava_e.yaml", "experiments/mbeir/train_mllm.yaml"]
CLIP_SF = ["experiments/encoders/clip_sf_vit_l14.yaml", "experiments/mbeir/train.yaml"]
DATA = "${stage:data}/shards"
UNIIR = {"command": "convert", "arguments": {"uniir": "clip.pth", "out": "${folder}/model"}}
PAIRS = 190_573 * 5_609_079
LOCAL = sum(counts.queries * counts.pool for counts in PUBLISHED_COUNTS.values())


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


def planned(tmp_path: Path, *flags: object, **stages: dict) -> dict[str, dict]:
    recipe = write(tmp_path / "recipe.yaml", "recipe", {"data": shard_stage("M-BEIR"), **stages})
    return stages_of(plan(tmp_path, recipe, *flags))


def fit(config: list[str], **more: object) -> dict:
    return {"command": "fit", "config": config, "arguments": {"data.path": DATA, **more}}


def test_mining_behind_a_fit_embeds_the_training_split_and_searches_it(tmp_path):
    found = planned(tmp_path, plain=fit(CLIP_SF), mined=fit([*CLIP_SF, "experiments/mine.yaml"]))
    plain, mined = found["plain"], found["mined"]
    assert set(plain["time"]) == {"training"} and set(mined["time"]) == {"training", "embedding", "search"}
    assert mined["time"]["training"] == plain["time"]["training"]
    documents = round(5_609_079 * 478 / 2430)  # by the sizes of the pools' files
    assert mined["time"]["search"]["flops"] == pytest.approx(2 * 768 * 1_149_000 * documents, rel=1e-6)
    assert mined["scratch"] >= (1_149_000 + documents) * 768 * 2 and plain["scratch"] == 0
    assert "negatives.parquet" in mined["disk"] and "negatives.parquet" not in plain["disk"]


def test_two_files_that_add_callbacks_add_both(tmp_path):
    files = [*CLIP_SF, "experiments/mine.yaml", "experiments/wandb.yaml"]
    assert "search" in planned(tmp_path, mined=fit(files))["mined"]["time"]


def test_a_fit_of_no_steps_costs_nothing_and_leaves_a_model(tmp_path):
    found = planned(tmp_path, none=fit(LLAVA_E, **{"trainer.max_steps": 0}))["none"]
    assert found["gpu_hours"] == 0 and found["time"] == {} and found["counts"]["steps"] == 0
    assert set(found["disk"]) == {"model", "log"}


def test_rows_that_alone_are_sharded_are_trained_on_alone(tmp_path):
    only = {"data": shard_stage("M-BEIR", tasks=["cirr_task7"])}
    some, every = (planned(tmp_path, fit=fit(LLAVA_E), **more)["fit"]["counts"]["steps"] for more in (only, {}))
    assert (some, every) == (2 * (26_000 // 1024), 2 * (1_149_000 // 1024))


def test_embedding_of_one_side_leaves_its_store_alone(tmp_path):
    predict = {
        "command": "predict",
        "config": CLIP_SF,
        "arguments": {"data.path": DATA, "data.predict": "queries/test"},
    }
    both = {**predict, "arguments": {"data.path": DATA, "data.predict": "test"}}
    found = planned(tmp_path, "--gpus", 4, one=predict, both=both)
    assert found["one"]["disk"] == {"store of query": 190_573 * (768 * 2 + 6)}
    assert found["both"]["left"] == (190_573 + 5_609_079) * (768 * 2 + 6)
    assert found["both"]["wall_hours"] == pytest.approx(found["both"]["gpu_hours"] / 4)


def test_an_evaluation_of_stores_searches_both_pools_and_one_of_a_model_embeds_too(tmp_path):
    predict = {"command": "predict", "config": CLIP_SF, "arguments": {"data.path": DATA, "data.predict": "test"}}
    given = {"data": DATA, "split": "test", "out": "${folder}"}
    found = planned(
        tmp_path,
        model=UNIIR,
        stores=predict,
        searched={"command": "evaluate", "arguments": {**given, "stores": "${stage:stores}"}},
        embedded={"command": "evaluate", "arguments": {**given, "model": "${stage:model}/model"}},
        scored={"command": "evaluate", "arguments": {"run": "x.parquet", "qrels": "q.txt"}},
    )
    assert found["searched"]["time"]["search"]["flops"] == pytest.approx(2 * 768 * (PAIRS + LOCAL))
    assert set(found["searched"]["time"]) == {"search"} and "stores" not in found["searched"]["disk"]
    assert set(found["embedded"]["time"]) == {"search", "embedding"} and "stores" in found["embedded"]["disk"]
    assert found["scored"]["gpu_hours"] == 0


def test_mining_with_a_teacher_embeds_and_with_stores_only_searches(tmp_path):
    given = {"data": DATA, "split": "val", "out": "${folder}/negatives.parquet"}
    stores = {"command": "predict", "config": CLIP_SF, "arguments": {"data.path": DATA, "data.predict": "val"}}
    found = planned(
        tmp_path,
        model=UNIIR,
        stores=stores,
        taught={"command": "mine", "arguments": {**given, "teacher": "${stage:model}/model", "per_query": 10}},
        searched={"command": "mine", "arguments": {**given, "stores": "${stage:stores}", "pool": "local"}},
        drawn={"command": "mine", "arguments": {"queries": "q", "candidates": "c", "random": 50, "out": "n"}},
    )
    assert set(found["taught"]["time"]) == {"search", "embedding"} and set(found["searched"]["time"]) == {"search"}
    assert found["searched"]["time"]["search"]["flops"] < found["taught"]["time"]["search"]["flops"]
    assert found["taught"]["disk"]["negatives.parquet"] == 182_200 * 10 * 7.5
    assert found["drawn"]["gpu_hours"] == 0


def test_mtebs_tasks_are_embedded_searched_in_their_own_pools_and_their_stores_removed(tmp_path):
    given = {"model": "${stage:model}/model", "mteb": ["NFCorpus", "SciFact"], "out": "${folder}"}
    found = planned(
        tmp_path,
        model=UNIIR,
        two={"command": "evaluate", "arguments": given},
        kept={"command": "evaluate", "arguments": {**given, "keep_stores": True}},
        fifteen={"command": "evaluate", "arguments": {**given, "mteb": ["mteb15"]}},
        unknown={"command": "evaluate", "arguments": {**given, "mteb": ["MyTask"]}},
    )
    assert found["two"]["time"]["search"]["flops"] == 2 * 768 * (3_633 * 323 + 5_183 * 300)
    assert found["two"]["scratch"] == (5_183 + 300) * (768 * 2 + 6) and "stores" not in found["two"]["disk"]
    assert found["kept"]["disk"]["stores"] == (3_633 + 323 + 5_183 + 300) * (768 * 2 + 6)
    assert found["fifteen"]["counts"]["documents"] == sum(texts.documents for texts in MTEB15_SETS.values())
    assert "MyTask is not known" in found["unknown"]["not_planned"]


def test_circo_copies_its_gallery_into_each_split_and_searches_it_once(tmp_path):
    source = {"source": "circo", "root": "CIRCO", "out": "${folder}/shards"}
    asked = {"protocol": "circo", "model": "${stage:model}/model", "data": "${stage:circo}/shards", "out": "${folder}"}
    found = planned(
        tmp_path,
        circo={"command": "shard", "arguments": source},
        one={"command": "shard", "arguments": {**source, "splits": ["val"]}},
        model=UNIIR,
        evaluate={"command": "evaluate", "arguments": asked},
    )
    assert found["circo"]["left"] == pytest.approx(2 * 19e9, rel=0.03)
    assert found["one"]["left"] == found["circo"]["left"] / 2
    assert found["evaluate"]["time"]["search"]["flops"] == 2 * 768 * 220 * 123_403
    assert found["evaluate"]["counts"] == {"queries": 220, "documents": 123_403}


def test_reranking_asks_about_k_documents_of_each_query_with_all_gpus(tmp_path):
    given = {"run": "${stage:data}", "data": DATA, "split": "test", "out": "${folder}/run.parquet", "tokens": 16384}
    asked = {**given, "k": 10, "model": "llava-hf/llava-v1.6-mistral-7b-hf", "precision": "bf16-true"}
    reranker = {
        "command": "fit-reranker",
        "config": ["experiments/emoji_beir/reranker.yaml"],
        "arguments": {"data.path": DATA, "model.checkpoint": asked["model"], "model.dtype": "bfloat16"},
    }
    found = planned(
        tmp_path, "--gpus", 8,
        whole={"command": "rerank", "arguments": asked},
        tiles={"command": "rerank", "arguments": {**asked, "any_resolution": True}},
        exact={"command": "rerank", "arguments": {**asked, "precision": "32-true"}},
        oracle={"command": "rerank", "arguments": {**given, "oracle": True}},
        two={"command": "rerank", "arguments": {**asked, "devices": 2}},
        trained=reranker,
        after={"command": "rerank", "arguments": {**asked, "model": "${stage:trained}/model"}},
    )  # fmt: skip
    whole = found["whole"]
    assert whole["counts"]["questions"] == 1_905_730 and (whole["gpus"], found["two"]["gpus"]) == (8, 2)
    assert found["two"]["wall_hours"] == pytest.approx(4 * whole["wall_hours"])
    assert 4 < found["tiles"]["counts"]["tokens"] / whole["counts"]["tokens"] < 5
    assert found["exact"]["gpu_hours"] == pytest.approx(2 * whole["gpu_hours"])
    assert found["oracle"]["gpu_hours"] == 0 and found["oracle"]["needs"] == []
    assert found["after"]["gpu_hours"] == pytest.approx(whole["gpu_hours"]) and found["after"]["needs"] == []
    assert found["trained"]["counts"] == {"steps": 300, "questions": 300 * 32 * 4}
    assert found["trained"]["disk"]["model"] == pytest.approx(15.13e9, rel=0.01)


def test_the_weights_of_released_checkpoints_have_their_published_sizes(tmp_path):
    """16.4 GB is what huggingface.co lists for nvidia/MM-Embed; its pooling is kept in fp32 here."""
    convert = {"command": "convert", "arguments": {"mm_embed": "nvidia/MM-Embed", "out": "${folder}/model"}}
    merged = {"command": "merge", "arguments": {"model": "${stage:fit}/model", "out": "${folder}/model"}}
    found = plan(
        tmp_path,
        write(
            tmp_path / "r.yaml", "r", {"data": shard_stage("M"), "mm": convert, "fit": fit(LLAVA_E), "merged": merged}
        ),
    )
    needed = {need["name"]: need["size"] for need in found["needs"]}
    assert needed["nvidia/MM-Embed"] == pytest.approx(16.4e9, rel=0.01)
    stages = stages_of(found)
    assert stages["mm"]["disk"]["model"] == pytest.approx(16.4e9 + 2 * 740_356_096, rel=0.01)
    assert stages["merged"]["left"] == pytest.approx(2 * 7.44e9, rel=0.01) and stages["merged"]["gpu_hours"] == 0

"""`mmembed evaluate --mteb`: the library's scores beside our own, its tasks by name, and what cannot be run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.encoders.pretrained import load_encoder, save_encoder
from lit_mmembed.encoders.prompts import paper_prompts
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.names import GROUPS, MBEIR, MTEB15
from lit_mmembed.evaluation.mteb.prompts import Prompts
from lit_mmembed.evaluation.mteb.protocol import VERSIONS, load_mteb
from lit_mmembed.evaluation.mteb.run import averages, evaluate_tasks, named_tasks
from lit_mmembed.types import Score
from tests.encoders.small import own_small
from tests.encoders.small_mllm import llava_p, nv_embed_text
from tests.evaluation.mteb_world import counting, library, loader, retriever, text_task
from tests.tiny import ROOT, done, json_lines, mmembed

__all__ = ["library"]

METRICS = {"ndcg", "recall", "hit", "map", "mrr"}


@pytest.fixture(scope="module", params=["clip", "one_word"])
def model(request, tiny_run, tmp_path_factory):
    """A trained CLIP_SF; LLaVA-P, whose prompts depend on the task."""
    if request.param == "clip":
        return tiny_run / "model"
    folder = tmp_path_factory.mktemp("llava_p") / "model"
    save_encoder(llava_p(), folder)
    return folder


def values(path, pool="local"):
    return {(row["task"], row["metric"], row["k"]): row["value"] for row in json_lines(path) if row["pool"] == pool}


@pytest.mark.parametrize(("ours", "theirs"), [("first", "paper"), ("none", "none")])
def test_mteb_scores_text_image_and_mixed_tasks_as_evaluate_does(library, model, tiny, tmp_path, ours, theirs):
    source = ("--model", model, "--data", tiny.data)
    done("evaluate", *source, "--prompts", ours, "--out", tmp_path / "ours")
    done("evaluate", *source, "--mteb", "local", "--mteb-prompts", theirs, "--out", tmp_path / "mteb", "--rows", 3)
    expected, found = values(tmp_path / "ours/scores.jsonl"), values(tmp_path / "mteb/scores.jsonl")
    compared = {key for key in expected if not key[0].startswith("avg") and key[1] in METRICS}
    assert len(compared) == 4 * len(METRICS) * 3
    assert {key: found[key] for key in compared} == pytest.approx({key: expected[key] for key in compared}, abs=1e-6)
    mean = sum(expected[task, "ndcg", 10] for task in {key[0] for key in compared}) / 4
    assert found["avg_local", "ndcg", 10] == pytest.approx(mean, abs=1e-6)


def test_mteb_scores_the_global_pool_of_mixed_documents_too(library, tiny, tiny_run, tmp_path):
    from lit_mmembed.evaluation.mteb.local import in_memory_tasks  # imports mteb

    done("evaluate", "--model", tiny_run / "model", "--data", tiny.data, "--prompts", "none", "--out", tmp_path / "e")
    expected = values(tmp_path / "e/scores.jsonl", "global")
    runner = retriever(load_encoder(tiny_run / "model"), tmp_path / "m", "none")
    scores = evaluate_tasks(library, runner, in_memory_tasks(tiny.data, pool="global"), tmp_path / "m")
    found = {(s.task, s.metric, s.k): s.value for s in scores if not s.task.startswith("avg")}
    assert found == pytest.approx({key: expected[key] for key in found}, abs=1e-6)
    assert {score.pool for score in scores if score.task == "cirr_task7"} == {"global"}


def test_a_result_says_what_produced_it_and_a_finished_task_is_not_run_again(
    library, tiny, tiny_run, tmp_path, monkeypatch
):
    command = ("evaluate", "--model", tiny_run / "model", "--data", tiny.data, "--mteb", "local", "--out", tmp_path)
    done(*command)
    row = next(row for row in json_lines(tmp_path / "scores.jsonl") if row["task"] == "cirr_task7")
    record = row["record"]
    assert record["mteb"] == metadata.version("mteb")
    assert record["prompt"]["source"] == "local"
    assert record["prompt"]["instruction"].startswith("Retrieve a day-to-day image")
    assert len(record["weights_hash"]) == 64
    assert record["training"]["seed"] == 0
    assert (row["n"], row["dataset"]) == (4, "CIRR")
    assert len(list(tmp_path.glob("results/*/*/cirr_task7.json"))) == 1
    assert not list(tmp_path.glob("stores/*/*"))
    embedded, before = counting(monkeypatch), (tmp_path / "scores.jsonl").read_bytes()
    (tmp_path / "tasks/cirr_task7.jsonl").unlink()
    done(*command)
    assert sum(embedded) == 4 + 18  # cirr_task7 alone
    assert (tmp_path / "scores.jsonl").read_bytes() == before
    done(*command, "--mteb-prompts", "none", "--keep-stores")
    assert sum(embedded) > 80
    assert len(list(tmp_path.glob("stores/*/test/default/query-*"))) == 4


def test_every_task_of_the_paper_is_in_mteb_and_has_the_papers_prompt(library):
    prompts = Prompts("paper")
    tasks = named_tasks(library, ["mteb15", "mbeir"])
    assert [task.metadata.name for task in tasks] == [*MTEB15, *MBEIR]
    assert {task.metadata.main_score for task in tasks} == {"ndcg_at_10"}
    asked = [prompts.of(task.metadata) for task in tasks]
    known = paper_prompts()["eos"]["instructions"]
    assert [row.instruction for row in asked[:15]] == [known[f"9/{name}"] for name in MTEB15.values()]
    assert [row.task for row in asked[15:]] == list(MBEIR_TASKS)
    categories = {"text": "t", "image": "i", "image,text": "it"}
    for task, row in zip(tasks, asked, strict=True):
        sides = row.task.query_modality, row.task.candidate_modality
        assert task.metadata.category == "2".join(categories[side] for side in sides)
    one_word = paper_prompts()["one_word"]["queries"]
    assert {row.task.label.lower() for row in asked} <= {label.lower() for label in one_word}
    # mteb's own prompt of this one asks for an image; its candidates are texts.
    wrong = next(task for task in tasks if task.metadata.name == "Fashion200kI2TRetrieval")
    assert "image" in Prompts("mteb").of(wrong.metadata).instruction.split()[-1]
    assert "product description" in prompts.of(wrong.metadata).instruction


def test_a_task_of_neither_table_has_mtebs_prompt_or_none_and_a_line_says_so(library, caplog):
    with_one, without = text_task(prompt="Find it."), text_task("Bare")
    assert Prompts("paper").of(with_one.metadata)[:] == ("Find it.", None, "mteb")
    assert Prompts("paper").of(without.metadata)[:] == (None, None, "none")
    assert "Bare" in caplog.text
    assert Prompts("none").of(with_one.metadata).instruction is None


def test_the_parts_of_cqadupstack_are_run_and_mteb_averages_them(library, tmp_path, monkeypatch):
    (task,) = named_tasks(library, ["CQADupstackRetrieval"])
    for part in task.metadata.tasks:
        monkeypatch.setattr(part, "load_data", loader().__get__(part))
    runner = retriever(own_small(tmp_path).eval(), tmp_path, "paper")
    scores = evaluate_tasks(library, runner, [task], tmp_path)
    assert [(score.metric, score.k, score.n) for score in scores] == [("ndcg", 10, 24)]
    part = json_lines(tmp_path / "tasks/CQADupstackTexRetrieval.jsonl")
    assert scores[0].value == pytest.approx(next(r["value"] for r in part if (r["metric"], r["k"]) == ("ndcg", 10)))
    assert part[0]["record"]["prompt"]["instruction"].endswith("duplicates to the given question")
    embedded = counting(monkeypatch)
    evaluate_tasks(library, runner, [task], tmp_path)
    assert not embedded


def test_the_mean_of_a_group_needs_all_of_its_members():
    rows = [Score("ndcg", 10, n / 10, 3, name, name, "local") for n, name in enumerate(MTEB15)]
    (mean,) = averages(GROUPS[0], rows)
    assert (mean.task, mean.value, mean.n) == ("avg_mteb15", pytest.approx(0.7), 45)
    assert averages(GROUPS[0], rows[1:]) == []


def test_the_range_of_versions_is_that_of_the_requirements():
    assert f"mteb{VERSIONS}" in (ROOT / "requirements-mteb.txt").read_text().splitlines()


@pytest.mark.parametrize("version", ["1.39.7", "3.0.0"])
def test_another_version_of_mteb_is_refused_before_anything_runs(tiny_run, tmp_path, monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    refused = mmembed("evaluate", "--model", tiny_run / "model", "--mteb", "SciFact", "--out", tmp_path / "out")
    assert refused.status == 2
    assert f"mteb {version} has another protocol" in refused.err
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_protocol_is_refused_whatever_the_version(library, tmp_path, monkeypatch):
    from mteb.models.models_protocols import EncoderProtocol, SearchProtocol

    monkeypatch.setattr(EncoderProtocol, "encode", lambda self, sentences, task_metadata: None)
    with pytest.raises(InputError, match=r"EncoderProtocol.encode has no inputs, hf_split"):
        load_mteb(tmp_path)
    monkeypatch.undo()

    def search(self, queries, *, task_metadata, hf_split, hf_subset, top_k, encode_kwargs, top_ranked, num_proc, more):
        pass

    monkeypatch.setattr(SearchProtocol, "search", search)
    with pytest.raises(InputError, match=r"SearchProtocol.search passes more"):
        load_mteb(tmp_path)


def test_without_mteb_one_line_says_how_to_install_it(tmp_path, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(InputError, match="mteb is not installed"):
        load_mteb(tmp_path)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("Nonesuch",), "mteb has no task 'Nonesuch'"),
        (("local",), "--mteb local needs --data"),
        (("SciFact", "--mteb-splits", "dev"), "SciFact: has no split dev (fix: it has test)"),
        (("SciFact", "--prompts", "all"), "--prompts is not for --mteb"),
    ],
)
def test_what_cannot_be_run_is_one_line(library, tiny_run, tmp_path, flags, line):
    refused = mmembed("evaluate", "--model", tiny_run / "model", "--out", tmp_path, "--mteb", *flags)
    assert refused.status == 2
    assert line in refused.err


def test_a_model_of_texts_only_is_refused_for_tasks_with_images(library, tmp_path):
    with pytest.raises(InputError, match="CIRRIT2IRetrieval: the model reads no image"):
        evaluate_tasks(library, retriever(nv_embed_text(), tmp_path), named_tasks(library, ["mbeir"])[-3:], tmp_path)


def test_offline_a_task_is_named_in_one_line_and_nothing_is_written_at_home(tiny_run, tmp_path):
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "MTEB_", "XDG_"))}
    command = ("evaluate", "--model", tiny_run / "model", "--mteb", "SciFact", "--out", out)
    ran = subprocess.run(
        [sys.executable, "-m", "lit_mmembed", *map(str, command)],
        env={**kept, "HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert "mmembed: error: SciFact: the data (mteb/scifact) cannot be loaded" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path for path in home.rglob("*") if "mteb" in path.name] == []
    assert not (out / "scores.jsonl").exists()

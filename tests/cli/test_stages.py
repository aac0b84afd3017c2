"""Every stage by its command line on a tiny benchmark: what one writes, the next reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sources.base import SPLITS
from lit_mmembed.retrieval.store import Store
from tests.tiny import TASK_NAMES, Tiny, done, json_lines, mmembed, rows

POOL = 72
MINING = ("--depth", 20, "--k-prime", 15)


def jsonl_of(tiny: Tiny, split: str, folder: Path) -> tuple[Path, Path]:
    """M-BEIR's JSONL of a split: all queries in one file, and the global pool."""
    queries = folder / f"{split}.jsonl"
    parts = sorted((tiny.source / f"query/{split}").glob("*.jsonl"))
    queries.write_text("".join(part.read_text() for part in parts))
    return queries, tiny.source / f"cand_pool/global/mbeir_union_{split}_cand_pool.jsonl"


@pytest.fixture(scope="module")
def stores(tiny: Tiny, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both sides of every split that the tests search, in single precision."""
    out = tmp_path_factory.mktemp("stores")
    for split in ("train", "test"):
        flags = ("--model", tiny_run / "model", "--dtype", "float32", "--rows", 16, "--split", split)
        done("encode", *flags, "--data", tiny.data, "--out", out / split)
    return {split: out / split for split in ("train", "test")}


@pytest.fixture(scope="module")
def trec(stores: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A TREC run of each split over the whole pool."""
    out = tmp_path_factory.mktemp("runs")
    for split, store in stores.items():
        sides = ("--queries", store / "queries", "--candidates", store / "candidates")
        done("search", *sides, "--out", out / f"{split}.trec", "--depth", POOL)
    return {split: out / f"{split}.trec" for split in stores}


def trec_lists(path: Path) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        qid, _, did, rank, _, _ = line.split()
        lists.setdefault(qid, []).append(did)
        assert len(lists[qid]) == int(rank)
    return lists


def test_shard_prints_the_counts_and_writes_every_split(tiny, tmp_path):
    ran = done("shard", "--source", "mbeir", "--root", tiny.source, "--out", tmp_path / "data")
    directory = DataDirectory(tmp_path / "data")
    assert directory.splits == tuple(sorted(SPLITS))
    assert directory.manifest["counts"] == {
        **{f"candidates/{split}": POOL for split in SPLITS},
        "queries/train": 40,
        "queries/val": 16,
        "queries/test": 16,
    }
    assert "candidates/test             72" in ran.out
    assert directory.hash == DataDirectory(tiny.data).hash


def test_verify_says_that_every_byte_is_as_written(tiny):
    assert "every byte is as written" in done("shard", "--verify", tiny.data).out


def test_the_trained_tokenizer_knows_texts_and_instructions(tiny):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny.tokenizer))
    assert tokenizer.get_vocab_size() <= 400
    for text in ("stands in an article", "retrieve"):  # of the documents; of the instructions
        assert len(tokenizer.encode(text).tokens) == len(text.split())


def test_encode_embeds_one_shard_set_or_both_sides_of_a_split_alike(tiny, tiny_run, stores, tmp_path):
    flags = ("--model", tiny_run / "model", "--dtype", "float32", "--rows", 5)
    done("encode", *flags, "--data", tiny.data / "queries/test", "--out", tmp_path / "store")
    one, both = Store(tmp_path / "store"), Store(stores["test"] / "queries")
    assert one.ids.tolist() == both.ids.tolist() == DataDirectory(tiny.data).queries("test").ids.tolist()
    np.testing.assert_allclose(one.vectors, both.vectors, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(both.vectors, axis=1), 1, atol=1e-5)
    assert both.manifest["prompts"] == "first"
    assert both.manifest["data_hash"] == DataDirectory(tiny.data).hash


def test_encode_keeps_a_store_of_the_policy_all_with_one_row_per_wording(tiny, tiny_run, tmp_path):
    flags = ("--model", tiny_run / "model", "--prompts", "all")
    done("encode", *flags, "--data", tiny.data / "queries/val", "--out", tmp_path / "store")
    ids = Store(tmp_path / "store").ids.tolist()
    assert len(ids) == 4 * 16
    assert ids[:4] == [f"{ids[0][:-3]}#w{n}" for n in (1, 2, 3, 4)]


def test_search_finds_what_a_loop_over_all_pairs_finds(stores, trec):
    queries, pool = Store(stores["test"] / "queries"), Store(stores["test"] / "candidates")
    for qid, vector in zip(queries.ids, queries.vectors, strict=True):
        scores = {did: float(np.float32(vector) @ np.float32(other)) for did, other in zip(pool.ids, pool.vectors)}  # noqa: B905
        best = sorted(scores, key=lambda did: -scores[did])
        found = trec_lists(trec["test"])[qid]
        np.testing.assert_allclose([scores[did] for did in found], [scores[did] for did in best], atol=1e-6)


def test_search_writes_the_same_ranking_as_parquet_and_as_a_trec_run(stores, trec, tmp_path):
    store = stores["test"]
    sides = ("--queries", store / "queries", "--candidates", store / "candidates")
    done("search", *sides, "--out", tmp_path / "run.parquet", "--depth", POOL)
    lists: dict[str, list[str]] = {}
    for row in rows(tmp_path / "run.parquet"):
        lists.setdefault(row["qid"], []).append(row["did"])
    assert lists == trec_lists(trec["test"])


def test_mining_from_files_alone_gives_exactly_what_the_callback_wrote(tiny, tiny_run, tmp_path):
    """From M-BEIR's JSONL and a TREC run, by the stages that the callback goes through."""
    flags = ("--model", tiny_run / "model", "--data", tiny.data, "--split", "train")
    done("encode", *flags, "--out", tmp_path / "stores")
    sides = ("--queries", tmp_path / "stores/queries", "--candidates", tmp_path / "stores/candidates")
    done("search", *sides, "--out", tmp_path / "run.trec", "--depth", 20)
    queries, pool = jsonl_of(tiny, "train", tmp_path)
    files = ("--run", tmp_path / "run.trec", "--queries", queries, "--candidates", pool)
    done("mine", *files, *MINING, "--out", tmp_path / "negatives.parquet", "--statistics", tmp_path / "statistics.json")
    mined = rows(tmp_path / "negatives.parquet")
    assert {row["kind"] for row in mined} == {"wrong_modality", "unsatisfying"}
    assert mined == rows(tiny_run / "negatives.parquet")
    ours, theirs = (json.loads((folder / "statistics.json").read_text()) for folder in (tmp_path, tiny_run))
    assert ours == theirs


def test_mining_takes_what_the_two_rules_of_the_paper_say(tiny, trec, tmp_path):
    queries, pool = jsonl_of(tiny, "train", tmp_path)
    files = ("--run", trec["train"], "--queries", queries, "--candidates", pool)
    done("mine", *files, *MINING, "--out", tmp_path / "negatives.parquet")
    modality = {row["did"]: row["modality"] for row in json_lines(pool)}
    wanted = {0: "image", 3: "text", 7: "image", 1: "text"}
    expected = set()
    for row in json_lines(queries):
        ranked = trec_lists(trec["train"])[row["qid"]][:20]
        positives = row["pos_cand_list"]
        first = min((place for place, did in enumerate(ranked) if did in positives), default=20)
        for place, did in enumerate(ranked):
            right = modality[did] == wanted[row["task_id"]]
            if place < first and not right:
                expected.add((row["qid"], did, "wrong_modality", place + 1))
            if place >= 15 and right and did not in positives:
                expected.add((row["qid"], did, "unsatisfying", place + 1))
    mined = [(row["qid"], row["did"], row["kind"], row["rank"]) for row in rows(tmp_path / "negatives.parquet")]
    assert len(mined) == len(set(mined))
    assert set(mined) == expected


def test_the_random_control_draws_from_the_pool_without_a_run(tiny, tmp_path):
    queries, pool = jsonl_of(tiny, "train", tmp_path)
    done("mine", "--random", 3, "--queries", queries, "--candidates", pool, "--out", tmp_path / "negatives.parquet")
    drawn = rows(tmp_path / "negatives.parquet")
    positives = {row["qid"]: row["pos_cand_list"] for row in json_lines(queries)}
    assert {row["kind"] for row in drawn} == {"random"}
    assert len(drawn) == 3 * len(positives)
    assert not any(row["did"] in positives[row["qid"]] for row in drawn)


def test_evaluate_scores_a_run_that_somebody_else_made(tmp_path):
    """Six columns, ranks that are wrong, a query that is not found; no file of this project around it."""
    run = ["q1 Q0 d3 9 0.9 sys", "q1 Q0 d1 9 0.8 sys", "q1 Q0 d2 9 0.7 sys", "q2 Q0 d2 9 3e-1 sys"]
    (tmp_path / "run.trec").write_text("\n".join(run) + "\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq1 0 d2 1\nq2 0 d2 1\nq3 0 d9 1\n")
    files = ("--run", tmp_path / "run.trec", "--qrels", tmp_path / "qrels.txt")
    ran = done("evaluate", *files, "--k", 1, 2, "--json", tmp_path / "scores.jsonl")
    scores = json_lines(tmp_path / "scores.jsonl")
    assert all({"metric", "k", "value", "n", "task", "dataset", "pool"} <= row.keys() for row in scores)
    assert {row["n"] for row in scores} == {3}
    assert {row["pool"] for row in scores} == {"global"}
    found = {(row["metric"], row["k"]): row["value"] for row in scores if row["task"] == "all"}
    assert found["hit", 1] == pytest.approx(1 / 3)
    assert found["hit", 2] == pytest.approx(2 / 3)
    assert found["recall", 2] == pytest.approx((1 / 2 + 1) / 3)
    assert found["mrr", 2] == pytest.approx((1 / 2 + 1) / 3)
    assert "hit@2" in ran.out


def test_evaluate_names_tasks_and_modality_accuracy_where_it_is_given_the_files(tiny, trec, tmp_path):
    queries, pool = jsonl_of(tiny, "test", tmp_path)
    labels = ("--queries", queries, "--candidates", pool)
    files = ("--run", trec["test"], "--qrels", tiny.data / "qrels/test.txt")
    done("evaluate", *files, *labels, "--json", tmp_path / "scores.jsonl")
    found = {(row["task"], row["metric"], row["k"]): row for row in json_lines(tmp_path / "scores.jsonl")}
    lists = trec_lists(trec["test"])
    modality = {row["did"]: row["modality"] for row in json_lines(pool)}
    for number, wanted in {0: "image", 3: "text", 7: "image", 1: "text"}.items():
        asked = [row for row in json_lines(queries) if row["task_id"] == number]
        hits = [bool(set(lists[row["qid"]][:5]) & set(row["pos_cand_list"])) for row in asked]
        right = [modality[lists[row["qid"]][0]] == wanted for row in asked]
        name = TASK_NAMES[number]
        assert found[name, "hit", 5]["value"] == pytest.approx(np.mean(hits))
        assert found[name, "modality_accuracy", 1]["value"] == pytest.approx(np.mean(right))
        assert found[name, "hit", 5]["dataset"].lower() == name.partition("_")[0]
    averages = [found[name, "hit", 5]["value"] for name in TASK_NAMES.values()]
    assert found["avg_all", "hit", 5]["value"] == pytest.approx(np.mean(averages))


def test_evaluating_a_model_gives_the_scores_of_its_run_globally_and_locally(tiny, tiny_run, tmp_path):
    model = ("--model", tiny_run / "model", "--data", tiny.data)
    done("evaluate", *model, "--out", tmp_path / "out", "--depth", POOL, "--k", 1, 5)
    files = ("--run", tmp_path / "out/run.parquet", "--qrels", tiny.data / "qrels/test.txt")
    labels = ("--queries", tiny.data / "queries/test", "--candidates", tiny.data / "candidates/test")
    done("evaluate", *files, *labels, "--k", 1, 5, "--json", tmp_path / "again.jsonl")
    found, again = (_values(tmp_path / name) for name in ("out/scores.jsonl", "again.jsonl"))
    assert again.items() <= found.items()
    assert {pool for pool, *_ in found} == {"global", "local"}
    assert {value for key, value in found.items() if key[0] == "local" and key[2] == "modality_accuracy"} == {1.0}
    records = [row["record"] for row in json_lines(tmp_path / "out/scores.jsonl")]
    assert all(record["weights_hash"] and record["data_hash"] for record in records)


def _values(path: Path) -> dict[tuple, float]:
    return {(row["pool"], row["task"], row["metric"], row["k"]): row["value"] for row in json_lines(path)}


@pytest.mark.parametrize("command", ["validate", "test"])
def test_validation_and_test_log_what_evaluate_finds(tiny, tiny_run, trec, tmp_path, command):
    split = {"validate": "val", "test": "test"}[command]
    done(*tiny.fit(tmp_path / "run", command=command, model__weights=tiny_run / "model"))
    [logged] = json_lines(tmp_path / "run/log.jsonl")
    assert logged.keys() >= {f"{split}/hit@5/{name}" for name in TASK_NAMES.values()}
    model = ("--model", tiny_run / "model", "--data", tiny.data, "--split", split)
    done("evaluate", *model, "--out", tmp_path / "out", "--k", 1, 5)
    for row in json_lines(tmp_path / "out/scores.jsonl"):
        name = f"{split}/{row['metric']}@{row['k']}/{row['task']}"
        if row["pool"] == "global" and name in logged:
            assert logged[name] == pytest.approx(row["value"])


def test_predict_writes_the_store_that_encode_writes(tiny, tiny_run, tmp_path):
    writer = "--trainer.callbacks+=lit_mmembed.training.callbacks.embeddings.EmbeddingWriter"
    flags = (writer, f"--trainer.callbacks.init_args.path={tmp_path / 'predicted'}")
    for collection in ("queries/test", "candidates/test"):
        settings = {"data__predict": collection, "model__weights": tiny_run / "model"}
        done(*tiny.fit(tmp_path / "run", *flags, command="predict", **settings))
        model = ("--model", tiny_run / "model", "--data", tiny.data / collection)
        done("encode", *model, "--out", tmp_path / "encoded")
        ours, theirs = Store(tmp_path / "predicted"), Store(tmp_path / "encoded")
        assert ours.manifest == theirs.manifest
        assert ours.ids.tolist() == theirs.ids.tolist()
        np.testing.assert_array_equal(ours.vectors, theirs.vectors)
        for store in (ours, theirs):
            store.path.rename(tmp_path / f"{store.path.name}_{collection.replace('/', '_')}")


def test_compare_prints_the_difference_of_two_runs(tiny, trec, tmp_path):
    """The second run is the first one upside down; nothing of the table is cut off where there is no terminal."""
    lines = [line.split() for line in trec["test"].read_text().splitlines()]
    (tmp_path / "down.trec").write_text("".join(f"{qid} Q0 {did} 1 {rank} x\n" for qid, _, did, rank, *_ in lines))
    qrels = tiny.data / "qrels/test.txt"
    ran = done("compare", "--runs", trec["test"], tmp_path / "down.trec", "--qrels", qrels, "--k", 20)
    cells = [[cell.strip() for cell in line.split("│")] for line in ran.out.splitlines() if "│" in line]
    printed = {row[1]: row for row in cells}
    lists = trec_lists(trec["test"])
    positives: dict[str, set[str]] = {}
    for qid, _, did, *_ in map(str.split, qrels.read_text().splitlines()):
        positives.setdefault(qid, set()).add(did)
    up = np.mean([bool(dids & set(lists[qid][:20])) for qid, dids in positives.items()])
    down = np.mean([bool(dids & set(lists[qid][-20:])) for qid, dids in positives.items()])
    assert "…" not in ran.out
    assert printed["all"][5:8] == [f"{value:.4f}" for value in (up, down, up - down)]


def test_doctor_names_packages_devices_and_disk_and_fails_only_on_a_problem():
    ran = mmembed("doctor")
    for what in ("torch", "lightning", "cpu", "faiss", "disk"):
        assert what in ran.out
    assert ran.status == int("PROBLEM" in ran.out)


def test_doctor_finds_a_malicious_release_and_says_the_fix(monkeypatch):
    from lit_mmembed.cli import doctor

    versions = {"lightning": "2.6.2"}
    monkeypatch.setattr(doctor.metadata, "version", lambda name: versions.get(name, "9.9"))
    ran = mmembed("doctor")
    assert ran.status == 1
    assert "malicious" in ran.out


def test_help_version_and_an_unknown_stage():
    assert "usage: mmembed STAGE" in done("--help").out
    assert done("--version").out.strip().count(".") == 2
    ran = mmembed("teach")
    assert ran.status == 2
    assert ran.err.startswith("mmembed: error: there is no stage 'teach' (fix: one of shard,")

"""`mmembed rerank` on the tiny benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.reranking.prompts import reranking_question
from lit_mmembed.retrieval.ranking import from_pairs, ranking_record, read_ranking, write_ranking
from tests.encoders.initial_folders import checkpoint
from tests.reranking.world import Killed, dies_after
from tests.tiny import Tiny, done, mmembed, rows

K = 4


def made_run(tiny: Tiny, path: Path, split: str = "test", depth: int = 7, shuffled: int = 0) -> Path:
    """Every query with `depth` documents of the whole pool, a positive among them; `shuffled`: rows in other order."""
    directory = DataDirectory(tiny.data)
    generator = np.random.default_rng(5)
    pairs = []
    for qid in directory.queries(split).ids:
        chosen = generator.choice(directory.candidates(split).ids, depth, replace=False)
        positive = directory.queries(split).by_id(qid).positives[0]
        if positive not in chosen:
            chosen[2] = positive
        pairs += [(qid, did, depth - rank) for rank, did in enumerate(chosen)]
    if shuffled:
        first = list(dict.fromkeys(qid for qid, *_ in pairs))
        np.random.default_rng(shuffled).shuffle(pairs)
        pairs.sort(key=lambda row: first.index(row[0]))
    write_ranking(path, from_pairs(*zip(*pairs, strict=True)), record={"from": "test"})
    return path


@pytest.fixture(scope="module")
def llava(tmp_path_factory) -> Path:
    return checkpoint("llava_next", tmp_path_factory.mktemp("llava"), seed=2)


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory) -> Path:
    return made_run(tiny, tmp_path_factory.mktemp("run") / "run.parquet")


def command(tiny: Tiny, run: Path, out: Path, *flags: object) -> list[object]:
    return ["rerank", "--run", run, "--data", tiny.data, "--k", K, "--out", out, "--tokens", 200, *flags]


@pytest.fixture(scope="module")
def reranked(tiny: Tiny, run: Path, llava: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reranked") / "out.parquet"
    done(*command(tiny, run, out, "--model", llava))
    return out


def by_query(path: Path) -> dict[str, list[tuple[str, float]]]:
    ranking = read_ranking(path)
    names, scores = ranking.document_ids[ranking.document], ranking.score.tolist()
    ends = zip(ranking.query_ids, ranking.offsets[:-1], ranking.offsets[1:], strict=True)
    return {qid: list(zip(names[a:b], scores[a:b], strict=True)) for qid, a, b in ends}


def probabilities(out: Path) -> dict[tuple[str, str], float]:
    return {(row["qid"], row["did"]): row["probability"] for row in rows(out.with_name(f"{out.stem}.answers.parquet"))}


def test_the_first_k_are_ordered_by_the_answer_and_the_rest_keeps_its_order_below(run, reranked):
    before, after = by_query(run), by_query(reranked)
    answers = probabilities(reranked)
    moved = 0
    for qid, documents in before.items():
        names = [did for did, _ in documents]
        expected = sorted(names[:K], key=lambda did: (-answers[qid, did], names.index(did)))
        assert [did for did, _ in after[qid]] == expected + names[K:]
        for did, score in after[qid][:K]:
            assert score == pytest.approx(answers[qid, did], abs=1e-6)
        assert all(score < 0 for _, score in after[qid][K:])
        moved += expected != names[:K]
    assert moved > 4


def test_the_record_says_who_was_asked_and_what_had_to_be_done_otherwise(tiny, run, reranked):
    record = ranking_record(reranked)
    assert record["from"] == "test"
    found = record["reranking"]
    assert found["template"] == "none" and found["depth"] == K and len(found["weights"]) == 64
    assert found["answers"]["true"]["piece"] == "Ġtrue" and found["answers"]["single_tokens"]
    directory = DataDirectory(tiny.data)
    expected: dict[str, dict[str, int]] = {}
    for qid, documents in by_query(run).items():
        query = directory.queries("test").by_id(qid)
        counts = expected.setdefault(query.task, {"text_for_image": 0, "image_for_text": 0})
        for did, _ in documents[:K]:
            asked = reranking_question(directory.task(query.task), query, directory.candidates("test").by_id(did))
            if asked.fallback:
                counts[asked.fallback] += 1
    assert found["fallbacks"] == expected
    assert sum(sum(counts.values()) for counts in expected.values()) > 5


def test_a_permutation_of_the_rows_changes_nothing(tiny, llava, reranked, tmp_path):
    other = made_run(tiny, tmp_path / "run.parquet", shuffled=3)
    done(*command(tiny, other, tmp_path / "out.parquet", "--model", llava))
    assert by_query(tmp_path / "out.parquet") == by_query(reranked)


def test_a_permutation_of_the_ranks_changes_no_score(tiny, run, llava, reranked, tmp_path):
    turned = [(qid, did, -score) for qid, found in by_query(run).items() for did, score in found[:K]]
    write_ranking(tmp_path / "run.parquet", from_pairs(*zip(*turned, strict=True)))
    done(*command(tiny, tmp_path / "run.parquet", tmp_path / "out.parquet", "--model", llava))
    assert probabilities(tmp_path / "out.parquet") == probabilities(reranked)


@pytest.mark.parametrize("passes", [1, 4])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tiny, run, llava, reranked, tmp_path, monkeypatch, passes):
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        dies_after(passes, patch)
        done(*command(tiny, run, out, "--model", llava))
    partial = tmp_path / "out.parquet.partial"
    assert not out.exists() and len(partial.read_bytes().splitlines()) == 1 + passes
    with partial.open("ab") as stream:
        stream.write(b'{"answers": [[[0.3')  # torn
    with monkeypatch.context() as patch:
        count = dies_after(10_000, patch)
        done(*command(tiny, run, out, "--model", llava))
    assert out.read_bytes() == reranked.read_bytes()
    assert (tmp_path / "out.answers.parquet").read_bytes() == reranked.with_name("out.answers.parquet").read_bytes()
    assert not partial.exists() and count[0] > 0


def test_what_another_model_left_is_not_used(tiny, run, llava, reranked, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    other = checkpoint("llava_next", tmp_path, seed=9)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        dies_after(3, patch)
        done(*command(tiny, run, out, "--model", other))
    done(*command(tiny, run, out, "--model", llava))
    assert out.read_bytes() == reranked.read_bytes()


def test_the_oracle_puts_every_answer_first(tiny, run, tmp_path):
    done(*command(tiny, run, tmp_path / "out.parquet", "--oracle"))
    queries = DataDirectory(tiny.data).queries("test")
    found = 0
    for qid, documents in by_query(tmp_path / "out.parquet").items():
        relevant = [did in queries.by_id(qid).positives for did, _ in documents[:K]]
        assert relevant == sorted(relevant, reverse=True)
        found += sum(relevant)
    assert found


def test_queries_with_fewer_documents_are_counted_and_a_run_without_any_of_k_warns(tiny, run, tmp_path, caplog):
    done(*command(tiny, run, tmp_path / "some.parquet", "--oracle", "--k", 9))
    assert "no query has 9 documents" in caplog.text
    found = ranking_record(tmp_path / "some.parquet")["reranking"]
    assert found["queries_with_fewer"] == found["queries"] == len(by_query(run))


def test_a_weight_is_chosen_on_validation_and_taken_to_test(tiny, run, tmp_path):
    validation = made_run(tiny, tmp_path / "val.parquet", split="val")
    weight = tmp_path / "weight.json"
    done(*command(tiny, validation, tmp_path / "v.parquet", "--oracle", "--split", "val", "--choose-weight", weight))
    content = json.loads(weight.read_text())
    assert content["split"] == "val" and len(content["grid"]) == 42 and content["weight"] > 0
    done(*command(tiny, run, tmp_path / "t.parquet", "--oracle", "--fusion", weight))
    fusion = ranking_record(tmp_path / "t.parquet")["reranking"]["fusion"]
    assert fusion["weight"] == content["weight"] and len(fusion["file_hash"]) == 64
    ran = mmembed(*command(tiny, validation, tmp_path / "x.parquet", "--oracle", "--split", "val", "--fusion", weight))
    assert ran.status == 2 and "was chosen on these queries (val)" in ran.err


def test_weight_zero_keeps_the_order_of_retrieval(tiny, run, llava, tmp_path):
    done(*command(tiny, run, tmp_path / "out.parquet", "--model", llava, "--fusion-weight", 0))
    kept = {qid: [did for did, _ in found] for qid, found in by_query(tmp_path / "out.parquet").items()}
    assert kept == {qid: [did for did, _ in found] for qid, found in by_query(run).items()}


def test_an_evaluation_folder_and_a_trec_run_are_taken_too(tiny, run, reranked, llava, tmp_path):
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "run_local.parquet").write_bytes(run.read_bytes())
    done(*command(tiny, folder, tmp_path / "a.trec", "--model", llava, "--pool", "local"))
    found = by_query(tmp_path / "a.trec")
    assert {q: [d for d, _ in f] for q, f in found.items()} == {
        q: [d for d, _ in f] for q, f in by_query(reranked).items()
    }


def test_texts_that_are_cut_are_counted(tiny, run, llava, tmp_path):
    done(*command(tiny, run, tmp_path / "out.parquet", "--model", llava, "--document-tokens", 3))
    assert ranking_record(tmp_path / "out.parquet")["reranking"]["cut"] > 5


def test_a_ranking_is_scored_on_a_data_directory_as_with_the_files_named(tiny, reranked, tmp_path):
    done("evaluate", "--run", reranked, "--data", tiny.data, "--out", tmp_path / "out")
    named = ("--qrels", tiny.data / "qrels/test.txt", "--queries", tiny.data / "queries/test")
    pool = ("--candidates", tiny.data / "candidates/test", "--json", tmp_path / "named.jsonl")
    done("evaluate", "--run", reranked, *named, *pool)
    assert (tmp_path / "out/scores.jsonl").read_bytes() == (tmp_path / "named.jsonl").read_bytes()
    ours, theirs = (read_ranking(path) for path in (tmp_path / "out/run.parquet", reranked))
    assert np.array_equal(ours.document, theirs.document)
    assert ranking_record(tmp_path / "out/run.parquet") == ranking_record(reranked)


def test_a_ranking_over_a_data_directory_takes_no_files_beside_it(tiny, reranked, tmp_path):
    flags = ("--data", tiny.data, "--out", tmp_path / "out", "--qrels", tiny.data / "qrels/test.txt")
    ran = mmembed("evaluate", "--run", reranked, *flags)
    assert ran.status == 2 and "--data has what --qrels says" in ran.err
    assert not (tmp_path / "out").exists()

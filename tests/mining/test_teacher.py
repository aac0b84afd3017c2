"""`mmembed mine --teacher` and `--stores`: one command from a model, or from anybody's vectors, to negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.cli import encoding, teacher
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.retrieval.store import StoreWriter
from tests.tiny import Tiny, done, mmembed, rows

PAPER = ("--depth", 20, "--k-prime", 15)
AWARE = ("--rules", "positive_aware", "--fraction", 0.95)


class Stopped(Exception):
    """In the place of a kill."""


def stop(*_: object, **__: object) -> None:
    raise Stopped


@pytest.fixture(scope="module")
def other_model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other")
    done(*tiny.fit(folder, trainer__max_steps=1, seed_everything=7))
    return folder / "model"


def vectors(reader, seed):
    drawn = np.random.default_rng(seed).normal(size=(len(reader), 4))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def write_store(path, reader, embedded, order=slice(None)):
    """A store as a program of one's own would write it: ids, modalities, tasks and vectors."""
    columns = {"ids": reader.ids[order], "modality": reader.modality[order], "task": np.asarray(reader.task)[order]}
    writer = StoreWriter(path, **columns, dimension=4, dtype="float32", manifest={})
    writer.write(np.arange(len(embedded)), embedded[order])
    writer.finish()


@pytest.fixture(scope="module")
def foreign(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random vectors of the training split."""
    folder, directory = tmp_path_factory.mktemp("foreign"), DataDirectory(tiny.data)
    for seed, (name, reader) in enumerate(sides(directory).items()):
        write_store(folder / name, reader, vectors(reader, seed))
    return folder


def sides(directory):
    return {"queries": directory.queries("train"), "candidates": directory.candidates("train")}


def by_hand(directory, *, local):
    """The positive-aware negatives (qid, did) of the random vectors: every query against its pool, one by one."""
    queries, documents = sides(directory).values()
    asked, held = vectors(queries, 0).astype(np.float64), vectors(documents, 1).astype(np.float64)
    pools, found = directory.pools("train"), set()
    for query in range(len(queries)):
        sample = queries[query]
        pool = pools[sample.task] if local else range(len(documents))
        scores = {documents.ids[row]: float(asked[query] @ held[row]) for row in pool}
        positive = min(scores[did] for did in sample.positives)
        limit = positive - 0.05 * abs(positive)
        wanted = directory.task(sample.task).candidate_modality
        found |= {
            (sample.id, did)
            for did, score in scores.items()
            if score < limit and did not in sample.positives and documents[documents.row_of(did)].modality == wanted
        }
    return found


def test_a_teacher_mines_in_one_command_what_the_callback_mined(tiny, tiny_run, tmp_path):
    out = tmp_path / "negatives.parquet"
    flags = ("--data", tiny.data, *PAPER, "--out", out, "--statistics", tmp_path / "statistics.json")
    done("mine", "--teacher", tiny_run / "model", *flags)
    assert rows(out) == rows(tiny_run / "negatives.parquet")
    assert (tmp_path / "statistics.json").read_text() == (tiny_run / "statistics.json").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"negatives.parquet", "statistics.json"}


def test_stores_that_are_there_are_mined_and_left_where_they_are(tiny, tiny_run, tmp_path):
    out = tmp_path / "negatives.parquet"
    done("mine", "--stores", tiny_run / "mining", "--data", tiny.data, *PAPER, "--out", out)
    assert out.read_bytes() == (tiny_run / "negatives.parquet").read_bytes()
    assert (tiny_run / "mining/queries").is_dir()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("pool", ["global", "local"])
def test_vectors_of_ones_own_are_mined_as_a_loop_over_every_pair_says(tiny, foreign, tmp_path, pool):
    flags = ("--data", tiny.data, "--pool", pool, "--depth", 72, *AWARE)
    done("mine", "--stores", foreign, *flags, "--out", tmp_path / "negatives.parquet")
    found = [(row["qid"], row["did"]) for row in rows(tmp_path / "negatives.parquet")]
    assert len(set(found)) == len(found)
    assert set(found) == by_hand(DataDirectory(tiny.data), local=pool == "local")


def test_a_local_pool_gives_only_documents_of_the_querys_own_pool(tiny, tiny_run, tmp_path):
    flags = ("--data", tiny.data, "--pool", "local", *AWARE, "--per-query", 2, "--choose", "random", "--last", 30)
    done("mine", "--teacher", tiny_run / "model", *flags, "--out", tmp_path / "n")
    directory = DataDirectory(tiny.data)
    queries, documents = sides(directory).values()
    pools = {name: set(documents.ids[pool]) for name, pool in directory.pools("train").items()}
    found = rows(tmp_path / "n")
    assert found
    for row in found:
        assert row["did"] in pools[queries[queries.row_of(row["qid"])].task]
        assert row["kind"] == "positive_aware" and 1 <= row["rank"] <= 18


@pytest.mark.parametrize("pool", ["global", "local"])
def test_a_killed_mining_goes_on_with_the_stores_and_the_ranking_it_has(tiny, tiny_run, tmp_path, monkeypatch, pool):
    flags = ("mine", "--teacher", tiny_run / "model", "--data", tiny.data, "--pool", pool, *PAPER)
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(teacher, "mine_run", stop)
        mmembed(*flags, "--out", tmp_path / "n")
    assert not (tmp_path / "n").exists()
    with monkeypatch.context() as patched:
        for module, name in ((encoding, "encode_collection"), (teacher, "search"), (teacher, "search_local_pools")):
            patched.setattr(module, name, stop)
        done(*flags, "--out", tmp_path / "n")
    done(*flags, "--out", tmp_path / "whole")
    assert (tmp_path / "n").read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_other_weights_left_half_done_is_discarded(tiny, tiny_run, other_model, tmp_path, monkeypatch):
    flags = ("--data", tiny.data, *PAPER, "--out", tmp_path / "n")
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(teacher, "mine_run", stop)
        mmembed("mine", "--teacher", other_model, *flags)
    done("mine", "--teacher", tiny_run / "model", *flags)
    assert rows(tmp_path / "n") == rows(tiny_run / "negatives.parquet")


def test_every_wording_is_mined_under_the_policy_all(tiny, tiny_run, tmp_path):
    flags = ("--data", tiny.data, "--prompts", "all", *PAPER, "--out", tmp_path / "n")
    done("mine", "--teacher", tiny_run / "model", *flags)
    assert {row["qid"] for row in rows(tmp_path / "n")} <= set(DataDirectory(tiny.data).queries("train").ids)
    assert len(rows(tmp_path / "n")) >= len(rows(tiny_run / "negatives.parquet"))


def refused(*flags: object) -> str:
    ran = mmembed("mine", *flags)
    assert ran.status == 2
    return ran.err.strip().removeprefix("mmembed: error: ")


def test_stores_of_other_documents_or_in_another_order_are_refused(tiny, foreign, tmp_path):
    directory = DataDirectory(tiny.data)
    queries, documents = sides(directory).values()
    (tmp_path / "queries").symlink_to(foreign / "queries")
    write_store(tmp_path / "candidates", documents, vectors(documents, 1), order=slice(None, None, -1))
    flags = ("--stores", tmp_path, "--data", tiny.data, *AWARE, "--depth", 72)
    line = refused(*flags, "--pool", "local", "--out", tmp_path / "n")
    assert line.startswith(f"{tmp_path / 'candidates'}: holds other documents than ")
    done("mine", *flags, "--out", tmp_path / "n")  # one pool has no order
    assert {(row["qid"], row["did"]) for row in rows(tmp_path / "n")} == by_hand(directory, local=False)
    line = refused(*flags, "--split", "val", "--out", tmp_path / "n")
    assert line.startswith(f"{tmp_path / 'queries'}: {queries.ids[0]}: is not in {tiny.data / 'queries/val'}")


def test_flags_that_do_not_go_together_are_named(tiny, tmp_path):
    out = ("--out", tmp_path / "n")
    assert refused("--teacher", "m", *out).startswith("`mmembed mine` needs --data")
    assert refused("--teacher", "m", "--run", "r", *out).startswith("--run and --teacher are two ways")
    assert refused("--run", "r", "--margin", 0, *out).startswith("--margin is of the rule positive_aware")
    assert refused("--run", "r", *AWARE[:2], *out).startswith("positive_aware has no limit")
    missing = refused("--teacher", tmp_path / "nowhere", "--data", tiny.data, *out)
    assert str(tmp_path / "nowhere") in missing
    assert not list(tmp_path.iterdir())

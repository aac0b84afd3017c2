"""`mmembed rerank` in several processes, and in parts that are joined by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.cli.rerank_parts import PARENT
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.retrieval.ranking import from_pairs, ranking_record, write_ranking
from tests.cli.test_rerank import by_query, command, llava, made_run, reranked, run
from tests.encoders.initial_folders import checkpoint
from tests.reranking.world import Killed
from tests.tiny import ROOT, Tiny, done, mmembed, rows

__all__ = ["llava", "reranked", "run"]


def answers(path: Path) -> dict[tuple[str, str], float]:
    return {(row["qid"], row["did"]): row["margin"] for row in rows(path)}


def part_files(out: Path, count: int) -> list[Path]:
    return [out.with_name(f"{out.stem}.part{number}-of-{count}.answers.parquet") for number in range(1, count + 1)]


@pytest.fixture(scope="module")
def parts(tiny: Tiny, run, llava, tmp_path_factory) -> list[Path]:
    """The answers of three parts, each asked for alone."""
    out = tmp_path_factory.mktemp("parts") / "out.parquet"
    for number in (1, 2, 3):
        done(*command(tiny, run, out, "--model", llava, "--part", f"{number}/3"))
    assert not out.exists()
    return part_files(out, 3)


def test_several_processes_make_what_one_makes(tiny, run, llava, reranked, tmp_path):
    out = tmp_path / "out.parquet"
    done(*command(tiny, run, out, "--model", llava, "--devices", 2, "--device", "cpu"))
    whole = reranked.with_name("out.answers.parquet")
    ours, theirs = answers(tmp_path / "out.answers.parquet"), answers(whole)
    assert list(ours) == list(theirs)  # the same order of rows
    assert np.allclose(list(ours.values()), list(theirs.values()), atol=1e-5)
    kept = {qid: [did for did, _ in found] for qid, found in by_query(out).items()}
    assert kept == {qid: [did for did, _ in found] for qid, found in by_query(reranked).items()}
    record, expected = ranking_record(out)["reranking"], ranking_record(reranked)["reranking"]
    assert record.pop("devices") == 2 and record == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.answers.parquet", "out.parquet"]
    assert "made before" in done(*command(tiny, run, out, "--model", llava, "--devices", 2, "--device", "cpu")).out


@pytest.mark.parametrize("queries", [1, 2])
def test_there_are_no_more_processes_than_queries(tiny, llava, tmp_path, queries, monkeypatch):
    started = []

    def killed(flags, run, count):
        started.append(count)
        raise Killed

    monkeypatch.setattr("lit_mmembed.cli.rerank_parts.answered_in_parts", killed)
    qids = DataDirectory(tiny.data).queries("test").ids[:queries]
    documents = list(DataDirectory(tiny.data).candidates("test").ids[:2])
    few = tmp_path / "few.parquet"
    write_ranking(few, from_pairs(np.repeat(qids, 2), documents * queries, [2.0, 1.0] * queries))
    asked = command(tiny, few, tmp_path / "out.parquet", "--model", llava, "--devices", 3, "--device", "cpu")
    if queries == 1:  # needs no further process
        done(*asked)
        assert started == [] and len(by_query(tmp_path / "out.parquet")) == 1
    else:
        with pytest.raises(Killed):
            mmembed(*asked)
        assert started == [2]


def test_parts_are_joined_in_any_order(tiny, run, reranked, parts, tmp_path):
    done(*command(tiny, run, tmp_path / "out.parquet", "--answers", parts[2], parts[0], parts[1]))
    joined = answers(tmp_path / "out.answers.parquet")
    whole = answers(reranked.with_name("out.answers.parquet"))
    assert list(joined) == list(whole) and np.allclose(list(joined.values()), list(whole.values()), atol=1e-5)
    sizes = [len({qid for qid, _ in answers(part)}) for part in parts]
    assert sum(sizes) == len(by_query(run)) and max(sizes) - min(sizes) <= 1


def test_a_process_that_fails_ends_the_others_and_the_next_call_goes_on(tiny, run, llava, reranked, tmp_path):
    out = tmp_path / "out.parquet"
    first, second = part_files(out, 2)
    done(*command(tiny, run, out, "--model", llava, "--part", "1/2"))
    shutil.copy(first, second)  # of other queries: the second process refuses it
    ran = mmembed(*command(tiny, run, out, "--model", llava, "--devices", 2, "--device", "cpu"))
    assert ran.status == 2 and not out.exists()
    assert "a part ended with status 2" in ran.err and "exists already" in ran.err and ran.err.count("\n") == 1
    assert ran.err.count("(fix: ") == 1
    before = first.stat().st_mtime_ns
    second.unlink()
    done(*command(tiny, run, out, "--model", llava, "--part", "2/2"))
    assert first.stat().st_mtime_ns == before
    done(*command(tiny, run, out, "--answers", first, second))
    assert {q: [d for d, _ in f] for q, f in by_query(out).items()} == {
        q: [d for d, _ in f] for q, f in by_query(reranked).items()
    }


def test_a_process_ends_when_who_started_it_is_gone(tiny, run, llava, tmp_path):
    words = command(tiny, run, tmp_path / "out.parquet", "--model", llava, "--part", "1/2", "--device", "cpu")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    environment = {**os.environ, PARENT: str(gone.pid)}
    ran = subprocess.run(
        [sys.executable, "-m", "lit_mmembed", *map(str, words)], env=environment, check=False, cwd=ROOT
    )
    assert ran.returncode == 1 and not part_files(tmp_path / "out.parquet", 2)[0].exists()


def test_what_does_not_make_a_whole_is_refused(tiny, run, llava, parts, tmp_path):
    def refused(*flags, of=run):
        ran = mmembed(*command(tiny, of, tmp_path / "out.parquet", *flags))
        assert ran.status == 2 and not (tmp_path / "out.parquet").exists() and ran.err.count("\n") == 1
        return ran.err

    assert "has no answer" in refused("--answers", parts[0], parts[2])
    assert "has no answer" in refused("--answers", parts[1])
    assert "is answered in" in refused("--answers", *parts, parts[0])
    assert "answers about another run" in refused(
        "--answers", *parts, of=made_run(tiny, tmp_path / "r.parquet", depth=6)
    )
    other = checkpoint("llava_next", tmp_path, seed=9)
    done(*command(tiny, run, tmp_path / "x.parquet", "--model", other, "--part", "3/3"))
    assert "another weights answered" in refused("--answers", *parts[:2], part_files(tmp_path / "x.parquet", 3)[2])
    for given in ("0/3", "4/3", "1", "a/b", "1/0"):
        assert f"--part {given} is no part" in refused("--model", llava, "--part", given)
    assert "part 500 of 500 is empty" in refused("--oracle", "--part", "500/500")
    assert "is no number of devices" in refused("--model", llava, "--devices", "0")
    assert "answers of a part alone" in refused("--model", llava, "--part", "1/2", "--fusion-weight", 0.5)

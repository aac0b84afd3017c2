"""`mmembed rerank --answers`: what a model said once is fused, weighed and ranked again without it."""

from __future__ import annotations

import json
import shutil

import pytest

from lit_mmembed.retrieval.ranking import ranking_record
from tests.cli.test_rerank import by_query, command, llava, made_run, reranked, run
from tests.tiny import done, mmembed

__all__ = ["llava", "reranked", "run"]


def answers_of(ranking):
    return ranking.with_name(f"{ranking.stem}.answers.parquet")


def test_without_a_weight_the_same_ranking_comes_out(tiny, run, reranked, tmp_path):
    done(*command(tiny, run, tmp_path / "out.parquet", "--answers", answers_of(reranked)))
    assert by_query(tmp_path / "out.parquet") == by_query(reranked)
    found = ranking_record(tmp_path / "out.parquet")["reranking"]
    assert found.pop("answers_hash") and found == ranking_record(reranked)["reranking"]


def test_fused_as_if_the_model_had_been_asked_again(tiny, run, llava, reranked, tmp_path):
    weight = ("--fusion-weight", 0.3, "--fusion-transform", "logit")
    done(*command(tiny, run, tmp_path / "again.parquet", "--answers", answers_of(reranked), *weight))
    done(*command(tiny, run, tmp_path / "asked.parquet", "--model", llava, *weight))
    assert by_query(tmp_path / "again.parquet") == by_query(tmp_path / "asked.parquet") != by_query(reranked)


def test_a_weight_is_chosen_from_answers(tiny, llava, tmp_path):
    validation = made_run(tiny, tmp_path / "val.parquet", split="val")
    val = ("--split", "val")
    done(*command(tiny, validation, tmp_path / "a.parquet", "--model", llava, *val))
    weights = [tmp_path / "again.json", tmp_path / "asked.json"]
    answers = ("--answers", answers_of(tmp_path / "a.parquet"))
    for said in ("weight ", "made before"):
        made = command(tiny, validation, tmp_path / "b.parquet", *answers, *val, "--choose-weight", weights[0])
        assert said in done(*made).out
    done(*command(tiny, validation, tmp_path / "c.parquet", "--model", llava, *val, "--choose-weight", weights[1]))
    again, asked = (json.loads(path.read_text()) for path in weights)
    assert again["grid"] == asked["grid"] and again["weight"] == asked["weight"]


def test_answers_about_something_else_are_refused(tiny, run, reranked, tmp_path):
    out = tmp_path / "out.parquet"

    def refused(ranking, *flags):
        ran = mmembed(*command(tiny, ranking, out, *flags))
        assert ran.status == 2 and not out.exists() and ran.err.count("\n") == 1
        return ran.err

    given = ("--answers", answers_of(reranked))
    assert "answers about another depth: 4, not 3" in refused(run, *given, "--k", 3)
    assert "answers about another run" in refused(made_run(tiny, tmp_path / "r.parquet", depth=6), *given)
    assert "does not exist" in refused(run, "--answers", tmp_path / "nothing.parquet")
    assert "is not a file of answers" in refused(run, "--answers", run)
    (tmp_path / "words.parquet").write_text("words")
    assert "is not a file of answers" in refused(run, "--answers", tmp_path / "words.parquet")
    assert "one of them" in refused(run, *given, "--oracle")


@pytest.fixture
def made(reranked, tmp_path):
    for path in (reranked, answers_of(reranked)):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / reranked.name


def test_what_a_killed_recipe_had_made_is_done(tiny, run, llava, made):
    before = made.read_bytes()
    partial = made.with_name(f"{made.name}.partial")
    partial.write_bytes(b"{}")
    assert "made before" in done(*command(tiny, run, made, "--model", llava)).out
    assert made.read_bytes() == before and not partial.exists()


def test_what_was_made_otherwise_is_refused(tiny, run, llava, made, tmp_path):
    def refused(*flags):
        ran = mmembed(*command(tiny, run, made, *flags))
        return ran.status == 2 and "exists already" in ran.err

    assert refused("--oracle")
    assert refused("--model", llava, "--k", 3)
    assert refused("--model", llava, "--fusion-weight", 0.5)
    assert refused("--model", llava, "--choose-weight", tmp_path / "weight.json")
    answers_of(made).unlink()
    assert refused("--model", llava)

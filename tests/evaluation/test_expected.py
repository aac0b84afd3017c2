"""Known values: agreement within the tolerance, what was not run, broken files, the values that the package has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.expected import FIELDS, GOLDEN, check, read_expected
from lit_mmembed.evaluation.scores import write_scores
from lit_mmembed.types import Score
from tests.tiny import mmembed

ROW = {"task": "cirr_task7", "pool": "global", "metric": "hit", "k": 5, "value": 0.4384, "tolerance": 0.005}


def values(folder: Path, *rows: dict, **shared: object) -> Path:
    path = folder / "known.yaml"
    path.write_text(yaml.safe_dump({**shared, "rows": list(rows)}))
    return path


def score(task: str, value: float, pool: str = "global", metric: str = "hit", k: int = 5) -> Score:
    return Score(metric, k, value, 100, task, "any", pool)


def verdicts(scores: list[Score], path: Path) -> list[str]:
    return [row.verdict for row in check(scores, read_expected(path))]


def test_a_value_agrees_up_to_its_tolerance_and_no_further(tmp_path):
    path = values(tmp_path, ROW)
    found = [verdicts([score("cirr_task7", value)], path) for value in (0.4384, 0.4434, 0.4334, 0.4436, 0.4332)]
    assert found == [["as expected"]] * 3 + [["off"]] * 2


def test_a_number_that_lacks_is_off_where_its_task_was_run_and_not_run_otherwise(tmp_path):
    path = values(tmp_path, ROW, {**ROW, "pool": "local"}, {**ROW, "task": "nights_task4"})
    assert verdicts([score("cirr_task7", 0.4384)], path) == ["as expected", "lacks", "not run"]


def test_an_average_counts_only_where_every_task_was_run(tmp_path):
    average = {**ROW, "task": "avg_all", "metric": "headline", "k": 0, "value": 0.5}
    path = values(tmp_path, ROW, {**ROW, "task": "nights_task4"}, average)
    some = [score("cirr_task7", 0.4384), score("avg_all", 0.4384, metric="headline", k=0)]
    assert verdicts(some, path) == ["as expected", "not run", "not run"]
    assert verdicts([*some, score("nights_task4", 0.4384)], path) == ["as expected", "as expected", "off"]


def test_a_pool_of_all_tasks_counts_only_where_every_task_was_run(tmp_path):
    path = values(tmp_path, ROW, {**ROW, "pool": "local"}, {**ROW, "task": "nights_task4"}, shared_pools=["global"])
    some = [score("cirr_task7", 0.9), score("cirr_task7", 0.4384, "local")]
    assert verdicts(some, path) == ["not run", "as expected", "not run"]
    assert verdicts([*some, score("nights_task4", 0.4384)], path) == ["off", "as expected", "as expected"]


def test_scores_of_other_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="no task of the known values"):
        check([score("birds_task0", 1.0)], read_expected(values(tmp_path, ROW)))


def test_what_rows_share_stands_beside_them(tmp_path):
    row = {name: value for name, value in ROW.items() if name not in ("tolerance", "metric")}
    (one,) = read_expected(values(tmp_path, row, tolerance=0.1, metric="recall", source="a table"))
    assert (one.tolerance, one.metric, one.source) == (0.1, "recall", "a table")


BROKEN = {
    "lacks tolerance": [{name: value for name, value in ROW.items() if name != "tolerance"}],
    "has unknown fields cutoff": [{**ROW, "cutoff": 5}],
    "value '43.8' is no float": [{**ROW, "value": "43.8"}],
    "tolerance -1 is negative": [{**ROW, "tolerance": -1}],
    "stands twice": [ROW, {**ROW, "value": 0.1}],
    "has no rows": [],
}


@pytest.mark.parametrize("problem", BROKEN)
def test_broken_values_are_refused_with_their_row(tmp_path, problem):
    with pytest.raises(InputError) as refused:
        read_expected(values(tmp_path, *BROKEN[problem]))
    assert problem in str(refused.value) and "known.yaml" in str(refused.value)


def test_a_name_that_nothing_has_lists_those_that_there_are():
    with pytest.raises(InputError, match="blip_ff_l, clip_sf_l"):
        read_expected("clip_l")


@pytest.mark.parametrize("name", ["clip_sf_l", "blip_ff_l"])
def test_the_packages_values_name_every_task_of_mbeir_at_its_own_cutoff_in_both_pools(name):
    expected = read_expected(name)
    tasks = {task.name: task.cutoff for task in MBEIR_TASKS}
    hits = {(row.task, row.pool): row for row in expected if row.metric == "hit"}
    assert set(hits) == {(task, pool) for task in tasks for pool in ("global", "local")}
    assert all(row.k == tasks[row.task] and 0 < row.value < 1 for row in hits.values())
    for pool in ("global", "local"):
        (average,) = [row for row in expected if (row.task, row.pool) == ("avg_all", pool)]
        mean = sum(row.value for (_, where), row in hits.items() if where == pool) / len(tasks)
        assert average.value == pytest.approx(mean, abs=6e-5)


def test_the_command_ends_with_1_where_a_value_is_off_and_says_which(tmp_path):
    rows = [row for row in read_expected("clip_sf_l") if row.metric == "hit"]
    scores = [score(row.task, row.value, row.pool, k=row.k) for row in rows]
    names = [path.stem for path in GOLDEN.glob("*.yaml")]
    assert sorted(names) == ["blip_ff_l", "clip_sf_l"]
    known = values(tmp_path, *({name: getattr(row, name) for name in FIELDS} for row in rows))
    write_scores(tmp_path / "scores.jsonl", scores)
    flags = ("evaluate", "--scores", tmp_path / "scores.jsonl", "--expect")
    fine = mmembed(*flags, known)
    assert fine.status == 0 and "32 as expected" in fine.out
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    changed = {**json.loads(lines[3]), "value": 0.1}
    (tmp_path / "scores.jsonl").write_text("\n".join([*lines[:3], json.dumps(changed), *lines[4:]]) + "\n")
    off = mmembed(*flags, known)
    assert off.status == 1 and "31 as expected, 1 off" in off.out
    assert "mscoco_task0" in off.out and "-0.7084" in off.out
    assert mmembed(*flags, "clip_sf_l").status == 1

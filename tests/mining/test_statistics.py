"""The mining statistics, counted by hand on four queries."""

import json

import pytest

from lit_mmembed.mining.miner import mine, random_negatives
from lit_mmembed.mining.rules import PositiveAware


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture
def counted(tmp_path):
    """Text -> image queries over 6 documents; 9:4 repeats the text of 9:1's caption, 9:6 its picture."""
    pictures = tmp_path / "mbeir_images"
    pictures.mkdir()
    for name, content in (("1", b"cat"), ("2", b"dog"), ("3", b"cow"), ("6", b"cat")):
        (pictures / f"{name}.jpg").write_bytes(content)
    paths = {number: f"mbeir_images/{number}.jpg" for number in (1, 2, 3, 6)}
    texts = {1: None, 2: None, 3: None, 4: "A cat.", 5: "a  CAT.", 6: "else"}
    write_lines(
        tmp_path / "c.jsonl",
        [
            {
                "did": f"9:{n}",
                "txt": texts[n],
                "img_path": paths.get(n),
                "modality": {4: "text", 5: "text", 6: "image,text"}.get(n, "image"),
            }
            for n in range(1, 7)
        ],
    )
    write_lines(
        tmp_path / "q.jsonl",
        [
            {"qid": "9:1", "task_id": 0, "pos_cand_list": ["9:1"]},
            {"qid": "9:2", "task_id": 0, "pos_cand_list": ["9:2"]},
            {"qid": "9:3", "task_id": 3, "pos_cand_list": ["9:4"]},
            {"qid": "9:4", "task_id": 0, "pos_cand_list": ["9:3"]},
        ],
    )
    orders = {"9:1": [6, 4, 1, 2], "9:2": [2, 1, 4, 3], "9:3": [1, 4, 3, 5], "9:4": [1, 4]}
    (tmp_path / "run").write_text(
        "".join(f"{q} Q0 9:{d} 1 {9 - place} x\n" for q, dids in orders.items() for place, d in enumerate(dids))
    )
    return tmp_path


def test_statistics_of_a_small_run_are_as_counted_by_hand(counted) -> None:
    files = (counted / "run", counted / "q.jsonl", counted / "c.jsonl", counted / "n")
    mine(*files, depth=4, k_prime=3, statistics=counted / "s.json")
    tasks = json.loads((counted / "s.json").read_text())["tasks"]
    assert tasks["mscoco_task0"] == {
        "queries": 3,
        "with_either": 1.0,
        "with_unsatisfying": pytest.approx(2 / 3),  # 9:1 (document 2) and 9:2 (document 3)
        "with_wrong_modality": pytest.approx(2 / 3),  # 9:1 (6, 4) and 9:4 (4)
        "negatives_per_query": pytest.approx(5 / 3),
        "positive_in_depth": pytest.approx(2 / 3),
        "median_positive_rank": 2.0,  # of ranks 3 and 1
        "possible_false_negatives": 1 / 5,  # document 6 has the picture of 9:1's positive
        "compared_negatives": 5,
    }
    assert tasks["mscoco_task3"]["with_wrong_modality"] == 1.0
    assert tasks["mscoco_task3"]["possible_false_negatives"] == 1 / 2  # document 5 has the text of 9:3's positive


def test_statistics_of_the_control_leave_out_what_needs_a_ranking(counted) -> None:
    random_negatives(
        counted / "q.jsonl", counted / "c.jsonl", counted / "n", per_query=5, statistics=counted / "s.json"
    )
    row = json.loads((counted / "s.json").read_text())["tasks"]["mscoco_task3"]
    assert row["queries"] == 1
    assert row["with_random"] == row["with_either"] == 1.0
    assert row["negatives_per_query"] == 5
    assert row["possible_false_negatives"] == 1 / 5
    assert "median_positive_rank" not in row


def test_a_run_without_negatives_has_statistics_too(counted) -> None:
    (counted / "run").write_text("9:2 Q0 9:2 1 1 x\n")
    mine(counted / "run", counted / "q.jsonl", counted / "c.jsonl", counted / "n", statistics=counted / "s.json")
    tasks = json.loads((counted / "s.json").read_text())["tasks"]
    assert list(tasks) == ["mscoco_task0"]
    assert tasks["mscoco_task0"]["with_either"] == 0.0
    assert tasks["mscoco_task0"]["possible_false_negatives"] is None


def test_a_positive_below_the_depth_has_a_rank_but_is_not_in_the_top(counted) -> None:
    files = (counted / "run", counted / "q.jsonl", counted / "c.jsonl", counted / "n")
    mine(*files, depth=2, k_prime=1, statistics=counted / "s.json")
    row = json.loads((counted / "s.json").read_text())["tasks"]["mscoco_task0"]
    assert row["positive_in_depth"] == pytest.approx(1 / 3)
    assert row["median_positive_rank"] == 2.0


def test_statistics_say_what_the_filters_removed_and_from_how_many_queries_everything(counted) -> None:
    """Scores fall from 9 by 1; of task 0 the filters look at document 2 of 9:1 and documents 1 and 3 of 9:2."""
    files = (counted / "run", counted / "q.jsonl", counted / "c.jsonl", counted / "n")
    rules = [PositiveAware(margin=1.5, max_score=6.5)]
    mine(*files, rules=rules, statistics=counted / "s.json")
    row = json.loads((counted / "s.json").read_text())["tasks"]["mscoco_task0"]
    assert {name: value for name, value in row.items() if "positive_aware" in name} == {
        "positive_aware_considered": pytest.approx(4 / 3),  # and document 1 of 9:4
        "positive_aware_removed_by_margin": 1 / 2,  # 1 below the positive: document 2 of 9:1, document 1 of 9:2
        "positive_aware_removed_by_no_positive": 1 / 4,  # document 1 of 9:4
        "positive_aware_removed_by_max_score": 1 / 2,  # the scores 8 and 9; document 2 of 9:1 has 6
        "positive_aware_without_positive": pytest.approx(1 / 3),
        "positive_aware_without_survivor": pytest.approx(2 / 3),
        "with_positive_aware": pytest.approx(1 / 3),  # 9:2, document 3
    }
    assert row["with_either"] == pytest.approx(1 / 3)


def test_filters_that_had_nothing_to_look_at_removed_no_share(counted) -> None:
    (counted / "run").write_text("9:2 Q0 9:2 1 1 x\n")
    files = (counted / "run", counted / "q.jsonl", counted / "c.jsonl", counted / "n")
    mine(*files, rules=[PositiveAware(fraction=0.9)], statistics=counted / "s.json")
    row = json.loads((counted / "s.json").read_text())["tasks"]["mscoco_task0"]
    assert (row["positive_aware_considered"], row["positive_aware_removed_by_fraction"]) == (0, None)

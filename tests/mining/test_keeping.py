"""Mining again for the continual stage: first-kind negatives stay, second-kind ones are replaced. On files."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_mmembed.files import file_hash
from tests.tiny import done, mmembed, rows

SMALL = ("--depth", 8, "--k-prime", 4)
WANTED = {0: "image", 3: "text"}


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def world(tmp_path):
    """16 documents, half of them texts, and 6 queries of two tasks with two positives each."""
    documents = [
        {"did": f"9:{n}", "txt": f"text {n}" if n % 2 else None, "img_path": None if n % 2 else f"{n}.jpg"}
        | {"modality": "text" if n % 2 else "image"}
        for n in range(16)
    ]
    queries = [{"qid": f"9:{n}", "task_id": (0, 3)[n % 2], "pos_cand_list": [f"9:{n}", f"9:{n + 6}"]} for n in range(6)]
    write_lines(tmp_path / "q.jsonl", queries)
    write_lines(tmp_path / "c.jsonl", documents)
    return tmp_path


def ranked(folder, seed, name, queries=range(6)):
    """A run of some queries, another one for every seed."""
    rng = random.Random(seed)
    lines = []
    for query in queries:
        order = rng.sample(range(16), 16)
        lines += [f"9:{query} Q0 9:{did} {rank} {1 - rank / 100} me\n" for rank, did in enumerate(order, start=1)]
    (folder / name).write_text("".join(lines))
    return folder / name


def mine(folder, run, out, *flags):
    sides = ("--queries", folder / "q.jsonl", "--candidates", folder / "c.jsonl")
    done("mine", "--run", run, *sides, "--out", folder / out, *flags)
    return folder / out


def refused(folder, run, *flags):
    sides = ("--queries", folder / "q.jsonl", "--candidates", folder / "c.jsonl")
    ran = mmembed("mine", "--run", run, *sides, "--out", folder / "refused.parquet", *flags)
    assert ran.status == 2
    assert not (folder / "refused.parquet").exists()
    return ran.err.strip().removeprefix("mmembed: error: ")


def of_kind(file, *kinds):
    return [row for row in rows(file) if row["kind"] in kinds]


def test_mining_again_keeps_first_kind_negatives_and_replaces_second_kind_ones(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    hard_run = ranked(world, 2, "hard.trec")
    fresh = mine(world, hard_run, "fresh.parquet", *SMALL)
    hard = mine(world, hard_run, "hard.parquet", *SMALL, "--keep", rand, "--keep-kinds", "wrong_modality")
    assert of_kind(rand, "wrong_modality") and of_kind(rand, "unsatisfying") != of_kind(fresh, "unsatisfying")
    by_query = {"key": lambda row: int(row["qid"][2:])}
    assert of_kind(hard, "wrong_modality") == sorted(of_kind(rand, "wrong_modality"), **by_query)
    assert of_kind(hard, "unsatisfying") == of_kind(fresh, "unsatisfying")
    assert len(rows(hard)) == len(of_kind(rand, "wrong_modality")) + len(of_kind(fresh, "unsatisfying"))


def test_rows_lie_in_the_runs_order_of_queries_then_by_kind_and_rank(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    backwards = ranked(world, 2, "hard.trec", queries=(5, 4, 3, 2, 1, 0))
    found = rows(mine(world, backwards, "hard.parquet", *SMALL, "--keep", rand))
    keys = [(-int(row["qid"][2:]), row["kind"], row["rank"]) for row in found]
    assert keys == sorted(keys)
    assert len({row["kind"] for row in found}) == 2
    assert pq.read_schema(world / "hard.parquet").remove_metadata() == pq.read_schema(rand).remove_metadata()


def test_the_record_names_the_rules_with_their_settings_and_the_kept_file(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    flags = ("--rules", "positive_aware", "--fraction", 0.95, "--last", 8, "--seed", 3)
    hard = mine(world, ranked(world, 2, "hard.trec"), "hard.parquet", "--keep", rand, *flags)
    record = json.loads(pq.read_schema(hard).metadata[b"mmembed"])["mining"]
    [settings] = record.pop("settings")
    assert record == {
        "rules": ["positive_aware"],
        "seed": 3,
        "kept": {"hash": file_hash(rand), "kinds": ["wrong_modality"]},
    }
    assert (settings["fraction"], settings["last"], settings["margin"], settings["seed"]) == (0.95, 8, None, 3)


def test_several_kinds_may_stay_and_positive_aware_negatives_come_beside_them(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    flags = ("--rules", "positive_aware", "--margin", 0, "--keep-kinds", "wrong_modality", "unsatisfying")
    both = mine(world, ranked(world, 2, "hard.trec"), "hard.parquet", "--keep", rand, *flags)
    assert of_kind(both, "positive_aware")
    assert sorted(map(str, of_kind(both, "wrong_modality", "unsatisfying"))) == sorted(map(str, rows(rand)))


def test_statistics_count_kept_negatives_too(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL, "--statistics", world / "rand.json")
    mine(
        world,
        ranked(world, 2, "hard.trec"),
        "hard.parquet",
        *SMALL,
        "--keep",
        rand,
        "--statistics",
        world / "hard.json",
    )
    before, after = (json.loads((world / name).read_text())["tasks"] for name in ("rand.json", "hard.json"))
    for task in before:
        assert before[task]["with_wrong_modality"] == after[task]["with_wrong_modality"]


def test_kept_negatives_of_queries_that_are_not_mined_are_left_out(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    some = rows(mine(world, ranked(world, 2, "hard.trec", queries=(1, 2)), "hard.parquet", *SMALL, "--keep", rand))
    kept = [row for row in of_kind(rand, "wrong_modality") if row["qid"] in ("9:1", "9:2")]
    assert [row for row in some if row["kind"] == "wrong_modality"] == kept


def test_a_file_of_another_program_with_plain_strings_can_be_kept(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    pq.write_table(pa.Table.from_pylist(rows(rand)), world / "plain.parquet")
    run = ranked(world, 2, "hard.trec")
    files = [mine(world, run, f"{kept}.out", *SMALL, "--keep", world / kept) for kept in (rand.name, "plain.parquet")]
    assert rows(files[0]) == rows(files[1])


def test_a_mining_that_found_nothing_of_a_kind_can_be_kept(world) -> None:
    """M_rand may have no wrong modality above a positive: that is a result, not a mistake."""
    nothing = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", "--depth", 0, "--k-prime", 0)
    assert rows(nothing) == []
    run = ranked(world, 2, "hard.trec")
    hard = mine(world, run, "hard.parquet", *SMALL, "--keep", nothing)
    assert rows(hard) == of_kind(mine(world, run, "fresh.parquet", *SMALL), "unsatisfying")


def test_what_had_nothing_to_keep_can_be_kept_again(world) -> None:
    """A third stage keeps of the second, which kept nothing of the first."""
    kept = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", "--depth", 0, "--k-prime", 0)
    for stage in ("second", "third"):
        run = ranked(world, 2, "hard.trec")
        kept = mine(world, run, f"{stage}.parquet", *SMALL, "--rules", "unsatisfying", "--keep", kept)
    assert rows(kept) == of_kind(mine(world, run, "fresh.parquet", *SMALL), "unsatisfying")


def test_random_negatives_with_older_ones_to_keep_are_refused(world) -> None:
    rand = mine(world, ranked(world, 1, "rand.trec"), "rand.parquet", *SMALL)
    sides = ("--queries", world / "q.jsonl", "--candidates", world / "c.jsonl")
    ran = mmembed("mine", "--random", 3, *sides, "--keep", rand, "--out", world / "control.parquet")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "--random keeps no older negatives" in ran.err
    assert not (world / "control.parquet").exists()


def negative(qid, did, kind="wrong_modality"):
    return {"qid": qid, "did": did, "kind": kind, "rank": 1, "score": 0.5}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (negative("9:1", "9:7"), "kept.parquet: query 9:1, document 9:7: is positive and negative at once"),
        (negative("8:1", "9:2"), "kept.parquet: 8:1: is not in "),
        (negative("9:1", "9:99"), "kept.parquet: 9:99: is not in "),
        (negative("9:1", "9:2", "random"), "kept.parquet: has no negatives of kind 'wrong_modality'"),
        ({"qid": "9:1"}, "kept.parquet: is not a file of negatives"),
    ],
)
def test_a_file_that_cannot_be_kept_is_named_with_its_row(world, row, message) -> None:
    pq.write_table(pa.Table.from_pylist([row]), world / "kept.parquet")
    line = refused(world, ranked(world, 1, "run.trec"), "--keep", world / "kept.parquet")
    assert line.startswith(str(world / message)), line


def test_a_kind_is_mined_or_kept_and_something_is_mined(world) -> None:
    run = ranked(world, 1, "run.trec")
    rand = mine(world, run, "rand.parquet", *SMALL)
    line = refused(world, run, "--keep", rand, "--rules", "wrong_modality", "unsatisfying")
    assert line.startswith("wrong_modality is mined and kept at once")
    assert "every kind is kept" in refused(world, run, "--keep", rand, "--keep-kinds", "wrong_modality", "unsatisfying")
    assert "two rules have the kind unsatisfying" in refused(world, run, "--rules", "unsatisfying", "unsatisfying")
    assert str(world / "nowhere: does not exist") in refused(world, run, "--keep", world / "nowhere")

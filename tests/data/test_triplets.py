"""What a training query brings to a batch: positives and wordings drawn as promised, never a positive as negative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lit_mmembed.data.collate import TrainingCollate
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions, PromptPolicy
from lit_mmembed.data.negatives import MinedNegatives
from lit_mmembed.data.triplets import Triplets
from lit_mmembed.errors import InputError
from lit_mmembed.types import NO_ID, Side, stable_id
from tests.data.test_negatives import write
from tests.tiny import Tiny

DRAWS = 400


def triplets(tiny: Tiny, policy: str = "first", negatives: Path | None = None, seed: int = 0) -> Triplets:
    directory = DataDirectory(tiny.data)
    return Triplets(
        directory.queries("train"),
        directory.candidates("train"),
        directory.tasks,
        instructions=Instructions.load(directory.instructions_path) if directory.instructions_path else None,
        policy=PromptPolicy(policy),
        negatives=MinedNegatives(negatives) if negatives else None,
        seed=seed,
    )


def row_of(tiny: Tiny, qid: str) -> int:
    return DataDirectory(tiny.data).queries("train").row_of(qid)


def wordings_of(tiny: Tiny, name: str) -> tuple[str, ...]:
    directory = DataDirectory(tiny.data)
    return Instructions.load(directory.instructions_path).wordings(directory.task(name))


def test_a_triplet_is_the_query_one_of_its_positives_and_its_ids(tiny):
    found = triplets(tiny)[0, 0, row_of(tiny, "8:3")]
    assert (found.query.text, found.query.side, found.query.task.name) == ("Make it whale.", Side.QUERY, "cirr_task7")
    assert found.query.image is not None
    assert found.positive[0] == "8:3"
    assert found.positive[1].side is Side.CANDIDATE
    assert found.positive[1].instruction is None
    assert found.known_positives == ("8:3",)
    assert found.negatives == ()


def test_each_positive_of_a_query_is_drawn_equally_often(tiny):
    dataset, row = triplets(tiny), row_of(tiny, "9:4")
    drawn = [dataset[0, position, row].positive[0] for position in range(DRAWS)]
    assert set(drawn) == {"9:4", "9:5"}
    assert drawn.count("9:4") / DRAWS == pytest.approx(1 / 2, abs=0.1)


def test_a_draw_depends_on_seed_epoch_and_position_alone(tiny):
    row = row_of(tiny, "9:4")

    def drawn(dataset: Triplets, epoch: int) -> list:
        return [dataset[epoch, position, row] for position in range(40)]

    one = drawn(triplets(tiny, "random"), 0)
    assert drawn(triplets(tiny, "random"), 0) == one
    assert drawn(triplets(tiny, "random"), 1) != one
    assert drawn(triplets(tiny, "random", seed=1), 0) != one


def test_the_policy_first_takes_the_first_wording_and_none_takes_none(tiny):
    row = row_of(tiny, "9:4")
    first = wordings_of(tiny, "mscoco_task0")[0]
    for policy, expected in (("first", first), ("none", None)):
        dataset = triplets(tiny, policy)
        assert {dataset[0, position, row].query.instruction for position in range(20)} == {expected}


@pytest.mark.parametrize("policy", ["random", "all"])
def test_the_policies_random_and_all_draw_every_wording_in_training(tiny, policy):
    dataset, row = triplets(tiny, policy), row_of(tiny, "9:4")
    drawn = [dataset[0, position, row].query.instruction for position in range(DRAWS)]
    expected = wordings_of(tiny, "mscoco_task0")
    assert len(expected) == 4
    assert [drawn.count(wording) / DRAWS for wording in expected] == pytest.approx([1 / 4] * 4, abs=0.08)


def test_negatives_come_from_the_file_and_are_documents(tiny, tmp_path):
    file = write(tmp_path / "n.parquet", [("9:4", "9:104", "wrong_modality"), ("9:4", "9:7", "unsatisfying")])
    dataset = triplets(tiny, negatives=file)
    row = row_of(tiny, "9:4")
    drawn = [dataset[0, position, row].negatives for position in range(DRAWS)]
    assert all(len(negatives) == 1 for negatives in drawn)
    dids = [negatives[0][0] for negatives in drawn]
    assert dids.count("9:7") / DRAWS == pytest.approx(1 / 2, abs=0.1)
    by_id = {did: row for ((did, row),) in drawn}
    assert by_id["9:104"].text is not None and by_id["9:104"].image is None
    assert by_id["9:7"].image is not None and by_id["9:7"].instruction is None
    assert dataset[0, 0, row_of(tiny, "9:5")].negatives == ()


def test_mined_negatives_are_never_positives_of_their_query(tiny, tiny_run):
    """Every draw of some epochs over a file that was mined by the model itself."""
    dataset = triplets(tiny, negatives=tiny_run / "negatives.parquet")
    seen = 0
    for epoch in range(3):
        for row in range(len(dataset)):
            found = dataset[epoch, row, row]
            assert not {did for did, _ in found.negatives} & set(found.known_positives)
            seen += len(found.negatives)
    assert seen > 60


def test_a_negative_that_the_pool_lacks_is_named(tiny, tmp_path):
    file = write(tmp_path / "n.parquet", [("9:4", "9:99999", "unsatisfying")])
    with pytest.raises(InputError, match="9:99999: no such id"):
        triplets(tiny, negatives=file)[0, 0, row_of(tiny, "9:4")]


def test_a_batch_lays_positives_first_and_keeps_the_ids_that_the_loss_masks_by(tiny, tmp_path):
    file = write(tmp_path / "n.parquet", [("9:4", "9:7", "unsatisfying"), ("8:3", "9:7", "unsatisfying")])
    dataset = triplets(tiny, negatives=file)
    found = [dataset[0, position, row_of(tiny, qid)] for position, qid in enumerate(("9:4", "9:504", "8:3"))]
    batch = TrainingCollate(lambda rows: {"count": np.array(len(rows))})(found)  # type: ignore[dict-item]
    assert (int(batch.query["count"]), int(batch.document["count"])) == (3, 5)
    assert batch.positive.tolist() == [0, 1, 2]
    documents = [*(triplet.positive[0] for triplet in found), "9:7", "9:7"]
    assert batch.document_ids.tolist() == [stable_id(did) for did in documents]
    assert batch.known_positives.tolist() == [
        [stable_id("9:4"), stable_id("9:5")],
        [stable_id("9:104"), NO_ID],
        [stable_id("8:3"), NO_ID],
    ]
    names = [task.name for task in dataset.tasks]
    assert [names[task] for task in batch.task.tolist()] == ["mscoco_task0", "mscoco_task3", "cirr_task7"]


def test_a_policy_that_needs_wordings_says_so_where_there_is_no_file(tiny):
    directory = DataDirectory(tiny.data)
    with pytest.raises(InputError, match=r"instructions\.tsv: the prompt policy first needs an instruction file"):
        Triplets(
            directory.queries("train"),
            directory.candidates("train"),
            directory.tasks,
            instructions=None,
            policy=PromptPolicy.FIRST,
            negatives=None,
            seed=0,
        )

"""Several data directories as one training set: whose documents are whose, their limits, negatives and errors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from lit_mmembed.data.collate import TrainingCollate
from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.mixture import MixedSource, Mixture
from lit_mmembed.data.sharding import shard
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from tests.data.test_negatives import write
from tests.data.text_sets import COUNT, write_words
from tests.tiny import WORDS, Tiny, done, mmembed
from tests.training.callbacks import Stopped


class Lengths:
    """A `preprocess` that keeps what it was given and takes any length."""

    takes_lengths = True

    def __call__(self, rows):
        self.rows = list(rows)
        return {}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words") / "set")


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mined") / "negatives.parquet"
    write(path, [(f"8:{n}", f"8:{(n + 3) % 18}", "unsatisfying") for n in range(10)])
    return path


def data_of(tiny: Tiny, *sources: MixedSource, negatives: Path | None = None, **mixing) -> RetrievalData:
    mixture = Mixture(list(sources), **mixing)
    return RetrievalData(tiny.data, batch_size=8, negatives=negatives, mixture=mixture, seed=3)


def test_rows_of_a_second_source_follow_those_of_the_first(tiny, words):
    training = data_of(tiny, MixedSource(words)).training_set()
    assert (len(training), training.tasks[-1].name) == (40 + COUNT, "words_task1")
    row = 40 + training.parts[1].queries.row_of("2:4")
    found = training[0, 0, row]
    assert found.query.text == f"Which word is {WORDS[4]}?"
    assert (found.query.instruction, found.task) == ("Find the word.", len(training.tasks) - 1)
    assert "It is long." in found.positive[1].text


def test_documents_that_two_sources_call_alike_are_not_taken_for_the_same(tiny, words):
    training = data_of(tiny, MixedSource(words)).training_set()
    picture = training[0, 0, training.parts[0].queries.row_of("8:3")]
    word = training[0, 1, 40 + training.parts[1].queries.row_of("2:3")]
    batch = TrainingCollate(Lengths())([picture, word])
    assert picture.known_positives == ("8:3",) and word.known_positives[0].endswith("/8:3")
    assert len(set(batch.document_ids.tolist())) == 2
    assert not set(batch.known_positives[0].tolist()) & {int(batch.document_ids[1])}


def test_the_same_directory_twice_is_one_set_of_documents(tiny):
    training = data_of(tiny, MixedSource(tiny.data)).training_set()
    row = training.parts[0].queries.row_of("8:3")
    assert training[0, 0, row].known_positives == training[0, 0, 40 + row].known_positives


def test_each_source_has_its_own_limits_of_tokens(tiny, words):
    source = MixedSource(words, query_length=20, candidate_length=512)
    training = data_of(tiny, source, query_length=10).training_set()
    first, second = training[0, 0, 0], training[0, 0, 40]
    assert [row.length for row in (first.query, first.positive[1])] == [10, None]
    assert [row.length for row in (second.query, second.positive[1])] == [20, 512]


def test_own_negatives_are_drawn_evenly(tiny, words):
    training = data_of(tiny, MixedSource(words, negatives="own")).training_set()
    row = 40 + training.parts[1].queries.row_of("2:5")
    drawn = [training[0, position, row].negatives[0][0].partition("/")[2] for position in range(200)]
    assert set(drawn) == {"8:6", "8:7"} and 60 < drawn.count("8:6") < 140


def test_batches_have_the_shares_that_were_given(tiny, words):
    data = data_of(tiny, MixedSource(words, weight=3), weights="given", weight=1)
    data.connect(Lengths())
    loader = data.train_dataloader()
    for draws in loader.batch_sampler:
        assert sum(row >= 40 for _, _, row in draws) == 6


def test_workers_get_the_same_batches(tiny, words):
    data = data_of(tiny, MixedSource(words, negatives="own"), weights="uniform", negatives=Path("own"))
    training = data.training_set()
    copied = pickle.loads(pickle.dumps(training))
    assert [copied[0, n, n] for n in (0, 39, 45)] == [training[0, n, n] for n in (0, 39, 45)]


def test_the_record_names_every_source_with_its_share_and_hashes(tiny, words, mined):
    data = data_of(tiny, MixedSource(words, negatives="own", candidate_length=512), negatives=mined)
    first, second = data.mixture_record()
    assert (first["negatives_hash"], second["negatives"]) == (file_hash(mined), "own")
    assert (second["candidate_length"], second["share"]) == (512, pytest.approx(COUNT / (40 + COUNT)))
    assert first["data_hash"] != second["data_hash"]


def checked(data: RetrievalData, preprocess=None) -> None:
    data.training_set().check(preprocess or Lengths())


def test_a_source_without_negatives_beside_one_with_is_refused(tiny, words, mined):
    with pytest.raises(InputError, match="has no negatives, and another source has"):
        checked(data_of(tiny, MixedSource(words), negatives=mined))
    with pytest.raises(InputError, match="has no negatives, and another source has"):
        checked(data_of(tiny, MixedSource(words, negatives="own")))
    checked(data_of(tiny, MixedSource(words, negatives="in_batch"), negatives=mined))
    checked(data_of(tiny, MixedSource(words)))


def test_negatives_of_other_queries_are_refused(tiny, words, mined):
    with pytest.raises(InputError, match="has negatives of none of the queries in"):
        checked(data_of(tiny, MixedSource(words, negatives=str(mined)), negatives=mined))


@pytest.mark.parametrize("order", [1, -1])
def test_a_document_that_is_positive_and_negative_at_once_is_refused_before_training(tiny, words, tmp_path, order):
    rows = [("2:1", "8:2", "unsatisfying"), ("2:3", "8:3", "wrong_modality"), ("2:2", "8:1", "unsatisfying")]
    write(tmp_path / "n.parquet", rows[::order])
    with pytest.raises(InputError, match="positive and negative at once") as wrong:
        checked(data_of(tiny, MixedSource(words, negatives=str(tmp_path / "n.parquet")), negatives=Path("own")))
    assert (wrong.value.record, wrong.value.file) == ("query 2:3, document 8:3", str(tmp_path / "n.parquet"))


@pytest.fixture(params=["is positive and negative at once", "is a negative that "])
def wrong_own(request, tmp_path) -> tuple[Path, str]:
    """A set one of whose queries has a negative that is its positive, or that is nowhere; and what is wrong with it."""
    write_words(tmp_path / "set")
    wrong = "8:7" if request.param.endswith("once") else "8:99"
    file = tmp_path / "set/queries.jsonl"
    file.write_text(file.read_text().replace('"negatives": ["8:8", "8:9"]', f'"negatives": ["8:8", "{wrong}"]'))
    return shard(source="jsonl", root=tmp_path / "set", out=tmp_path / "again"), f"document {wrong}: {request.param}"


def test_own_negatives_that_cannot_be_drawn_are_refused_before_training(tiny, wrong_own, tmp_path, from_root):
    words, message = wrong_own
    flags = tiny.fit(tmp_path / "run", mixture_flag(words), data__negatives="in_batch")
    ran = mmembed(*flags)
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert f"{words / 'queries/train'}: query 2:7, {message}" in ran.err and "(fix: correct the source" in ran.err
    assert not (tmp_path / "run/log.jsonl").exists()
    alone = RetrievalData(words, batch_size=8, negatives=Path("own"))
    with pytest.raises(InputError, match=message):
        checked(alone)


def test_skipping_leaves_a_query_with_such_negatives_to_training(tiny, wrong_own, caplog):
    words, _ = wrong_own
    skipping = RetrievalData(words, batch_size=8, negatives=Path("own"), on_bad_sample="skip")
    checked(skipping)
    training = skipping.training_set()
    row = training.parts[0].queries.row_of("2:7")
    asked = {training[0, place, row].query.text for place in range(30)}
    assert len(asked) == 2 and "skipped a training query" in caplog.text


def test_limits_for_an_encoder_of_one_length_are_refused(tiny, words):
    with pytest.raises(InputError, match="the encoder has one fixed length"):
        checked(data_of(tiny, MixedSource(words, candidate_length=512)), preprocess=object())


def mixture_flag(words: Path, **source) -> str:
    settings = {"weights": "uniform", "sources": [{"path": str(words), "negatives": "own", **source}]}
    return f"--data.mixture={json.dumps(settings)}"


def test_a_fit_on_a_mixture_can_be_stopped_and_goes_on_to_the_same_bits(tiny, words, mined, tmp_path, from_root):
    settings = {"resume_every": 1, "data__negatives": mined, "trainer__max_steps": 9}
    flags = [mixture_flag(words), "--allow-imports=tests"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done(*tiny.fit(whole, *flags, **settings))
    stop = ["--trainer.callbacks+=tests.training.callbacks.StopAt", "--trainer.callbacks.init_args.step=7"]
    with pytest.raises(Stopped):
        mmembed(*tiny.fit(stopped, *flags, *stop, **settings))
    done(*tiny.fit(stopped, *flags, **settings, ckpt_path=stopped / "resume.ckpt"))
    for name in ("log.jsonl", "model/weights.safetensors"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    record = json.loads((whole / "model/record.json").read_text())
    assert [source["share"] for source in record["mixture"]] == [0.5, 0.5]


def test_an_error_of_the_mixture_is_one_line_before_anything_is_trained(tiny, words, tmp_path, from_root):
    wrong = mixture_flag(words, weight=0).replace('"uniform"', '"given", "weight": 0')
    ran = mmembed(*tiny.fit(tmp_path / "run", wrong, data__negatives="in_batch"))
    assert ran.status == 2 and ran.err.count("\n") == 1
    assert "the weight of every source is zero" in ran.err
    assert not list(tmp_path.rglob("*.safetensors"))

"""What every source obeys: valid samples in an order that repeats, known ids, a round trip that changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.data.sharding import write_source
from lit_mmembed.data.sources.base import SPLITS, Source
from lit_mmembed.data.sources.beir import BeirSource
from lit_mmembed.data.sources.circo import CircoSource
from lit_mmembed.data.sources.cirr import CirrSource
from lit_mmembed.data.sources.fashioniq import FashionIqSource
from lit_mmembed.data.sources.jsonl import JsonlSource
from lit_mmembed.data.sources.mbeir import MBeirSource
from lit_mmembed.data.sources.parquet import ParquetSource
from lit_mmembed.data.sources.texts.listing import TextListing
from lit_mmembed.data.sources.texts.source import TextSource
from lit_mmembed.types import Modality, Sample
from tests.data.sources import composed_folders, folders, mbeir_folder
from tests.data.sources.texts import forms


def mbeir_archive(root: Path) -> MBeirSource:
    mbeir_folder.pack(mbeir_folder.build(root))
    return MBeirSource(root)


def text_set(name: str) -> Callable[[Path], Source]:
    def opened(root: Path) -> TextSource:
        form, build = {**forms.WITH_NEGATIVES, **forms.WITHOUT}[name]
        root.mkdir()
        return TextSource(build(root), form=form, name="Birds", held_out={"val": 0.5}, instructions=["Find it."])

    return opened


def listing(root: Path) -> TextListing:
    folders.build_beir(root / "birds")
    forms.pairs_lists(root)
    lines = ["name: feathers", "datasets:"]
    for number, form, path in ((101, "beir", "birds"), (102, "pairs", "qa.jsonl")):
        entry = f"name: Set{number}, id: {number}, format: {form}, path: {path}, instructions: [Find it.]"
        lines.append(f"- {{{entry}}}")
    (root / "texts.yaml").write_text("\n".join(lines))
    return TextListing(root)


OPENERS: dict[str, Callable[[Path], Source]] = {
    "mbeir_folder": lambda root: MBeirSource(mbeir_folder.build(root)),
    "mbeir_archive": mbeir_archive,
    "mbeir_one_row": lambda root: MBeirSource(mbeir_folder.build(root), tasks=["mscoco_task3"]),
    "parquet": lambda root: ParquetSource(folders.build_parquet(root), task="cirr_task7"),
    "beir": lambda root: BeirSource(folders.build_beir(root)),
    "jsonl": lambda root: JsonlSource(folders.build_jsonl(root)),
    "texts": listing,
    "circo": lambda root: CircoSource(composed_folders.build_circo(root)),
    "cirr": lambda root: CirrSource(composed_folders.build_cirr(root)),
    "fashioniq": lambda root: FashionIqSource(composed_folders.build_fashioniq(root)),
    **{name: text_set(name) for name in ("tevatron_old", "tevatron_new", "triplets_lists", "nli_snli", "pairs_squad")},
}


@pytest.fixture(params=OPENERS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    return OPENERS[request.param](tmp_path / "source")


def samples(source: Source) -> dict[tuple[str, str], Sample]:
    found = {}
    for item in source.items():
        assert not isinstance(item, BadSample), item.error
        part, sample = item
        assert (part, sample.id) not in found
        found[part, sample.id] = sample
    return found


def test_every_sample_is_valid(source: Source) -> None:
    tasks = {task.name: task for task in source.tasks}
    assert len(tasks) == len(source.tasks)
    found = samples(source)
    assert found
    for (part, _), sample in found.items():
        side, split = part.split("/")
        assert side in ("queries", "candidates") and split in SPLITS
        assert sample.modality is Modality.of(text=bool(sample.text), image=bool(sample.image))
        if side == "candidates":
            assert (sample.task, sample.positives, sample.negatives) == (None, (), ())
            continue
        assert sample.task is not None and tasks[sample.task].query_modality is sample.modality
        assert all((f"candidates/{split}", did) in found for did in sample.positives)


def test_the_order_repeats(source: Source) -> None:
    assert list(source.items()) == list(source.items())


def test_qrels_name_known_ids_and_agree_with_the_positives(source: Source) -> None:
    found, numbers = samples(source), {task.name: task.mbeir_id for task in source.tasks}
    for split, rows in source.qrels().items():
        positives: dict[str, set[str]] = {}
        for qid, did, relevance, number in rows:
            assert (f"candidates/{split}", did) in found
            assert numbers[str(found[f"queries/{split}", qid].task)] == number
            if relevance > 0:
                positives.setdefault(qid, set()).add(did)
        queries = {name: sample for (part, name), sample in found.items() if part == f"queries/{split}"}
        assert {name: set(sample.positives) for name, sample in queries.items() if sample.positives} == positives


def test_local_pools_are_documents_of_the_split_for_tasks_of_the_source(source: Source) -> None:
    found = samples(source)
    for split, pools in (source.pools() or {}).items():
        assert set(pools) <= {task.name for task in source.tasks}
        for dids in pools.values():
            assert all((f"candidates/{split}", did) in found for did in dids)


def test_the_instruction_file_has_every_task_if_there_is_one(source: Source) -> None:
    if source.instructions_path is not None:
        instructions = Instructions.load(source.instructions_path)
        assert all(instructions.wordings(task) for task in source.tasks)


def test_a_round_trip_through_shards_changes_nothing(source: Source, tmp_path: Path) -> None:
    directory = DataDirectory(write_source(source, tmp_path / "out", kind="test"))
    assert (directory.name, directory.tasks) == (source.name, source.tasks)
    back = {}
    for part in directory.manifest["parts"]:
        side, split = part.split("/")
        reader = directory.queries(split) if side == "queries" else directory.candidates(split)
        back |= {(part, sample.id): sample for sample in reader}
    assert back == samples(source)
    for split, rows in source.qrels().items():
        expected = [f"{qid} 0 {did} {relevance} {task}" for qid, did, relevance, task in rows]
        assert directory.qrels_path(split).read_text().splitlines() == expected


def test_the_same_input_gives_the_same_hash(source: Source, tmp_path: Path) -> None:
    hashes = {DataDirectory(write_source(source, tmp_path / name, kind="test")).hash for name in ("one", "two")}
    assert len(hashes) == 1

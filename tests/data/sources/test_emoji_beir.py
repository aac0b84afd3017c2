"""EmojiBEIR as it ships, its export in M-BEIR's published layout, and its builder on small made-up packages."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mmembed.data.sources.emoji_beir import export_mbeir_layout, fetch_packages
from lit_mmembed.data.sources.emoji_beir.draws import fraction, shuffled
from lit_mmembed.data.sources.emoji_beir.fetch import NPM_PACKAGES
from lit_mmembed.data.sources.emoji_beir.relations import PICTURED, RELATIONS
from lit_mmembed.data.sources.emoji_beir.wordings import CAPTIONS, EDITS, HINTS, PLAIN, TONED, sentence
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Task

SHIPPED = Path(__file__).parents[3] / "data_shards" / "emoji_beir"
SPLITS = ("train", "val", "test")


class Shipped:
    """A folder in the compact layout, read naively."""

    def __init__(self, root: Path):
        self.root = root
        rows = json.loads((root / "tasks.json").read_text())
        self.tasks = [
            Task(**{**row, **{k: Modality(row[k]) for k in ("query_modality", "candidate_modality")}}) for row in rows
        ]
        self.pools = {s: jsonl(root / f"cand_pool/global/mbeir_union_{s}_cand_pool.jsonl") for s in SPLITS}
        train = jsonl(root / "query/union_train/mbeir_union_up_train.jsonl")
        self.queries = {("train", t.name): [q for q in train if q["task_id"] == t.mbeir_id] for t in self.tasks}
        for split in ("val", "test"):
            for task in self.tasks:
                path = root / f"query/{split}/mbeir_{task.name}_{split}.jsonl"
                self.queries[split, task.name] = jsonl(path)
        self.images = unpack(root)

    def images_of(self, split: str) -> set[str]:
        shown = {document["img_path"] for document in self.pools[split]}
        asked = {q["query_img_path"] for task in self.tasks for q in self.queries[split, task.name]}
        return (shown | asked) - {None}


def jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def unpack(root: Path) -> dict[str, bytes]:
    packed = b"".join(part.read_bytes() for part in sorted(root.glob("mbeir_images.tar.gz.part-*")))
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


@pytest.fixture(scope="module")
def shipped():
    return Shipped(SHIPPED)


def test_every_file_of_the_shipped_benchmark_together_is_at_most_twelve_megabytes():
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) <= 12_000_000


def test_all_eight_tasks_of_the_paper_are_there(shipped):
    assert sorted(task.paper_id for task in shipped.tasks) == list(range(1, 9))
    assert {(task.dataset, task.dataset_id) for task in shipped.tasks} == {("Emoji", 20), ("Atlas", 21)}


def test_every_task_has_enough_queries_in_validation_and_test(shipped):
    for task in shipped.tasks:
        assert len(shipped.queries["val", task.name]) >= 150, task.name
        assert len(shipped.queries["test", task.name]) >= 250, task.name


def test_the_sizes_are_what_a_small_machine_can_train_on(shipped):
    assert 8_000 <= sum(len(shipped.queries["train", task.name]) for task in shipped.tasks) <= 12_000
    assert 4_000 <= len(shipped.pools["test"]) <= 6_000


def test_ids_are_unique_and_one_id_is_one_document_in_every_pool(shipped):
    contents = defaultdict(set)
    for pool in shipped.pools.values():
        assert len({document["did"] for document in pool}) == len(pool)
        for document in pool:
            contents[document["did"]].add((document["txt"], document["img_path"]))
    assert all(len(content) == 1 for content in contents.values())
    assert len(set().union(*contents.values())) == len(contents), "equal documents under two ids"
    qids = [query["qid"] for queries in shipped.queries.values() for query in queries]
    assert len(set(qids)) == len(qids)


def test_every_positive_is_in_the_pool_of_its_split_and_of_the_modality_asked_for(shipped):
    for task in shipped.tasks:
        for split in SPLITS:
            pool = {document["did"]: document for document in shipped.pools[split]}
            for query in shipped.queries[split, task.name]:
                assert query["pos_cand_list"]
                for did in query["pos_cand_list"]:
                    assert pool[did]["modality"] == task.candidate_modality
                    assert did.startswith(f"{task.dataset_id}:")


def test_modalities_say_what_the_records_hold(shipped):
    for pool in shipped.pools.values():
        for d in pool:
            assert d["modality"] == Modality.of(text=d["txt"] is not None, image=d["img_path"] is not None)
    for queries in shipped.queries.values():
        for q in queries:
            held = Modality.of(text=q["query_txt"] is not None, image=q["query_img_path"] is not None)
            assert q["query_modality"] == held


def test_qrels_agree_with_the_positives_of_the_queries(shipped):
    for task in shipped.tasks:
        for split in SPLITS:
            lines = (SHIPPED / f"qrels/{split}/mbeir_{task.name}_{split}_qrels.txt").read_text().splitlines()
            judged = {tuple(line.split(" ")) for line in lines}
            expected = {
                (q["qid"], "0", did, "1", str(task.mbeir_id))
                for q in shipped.queries[split, task.name]
                for did in q["pos_cand_list"]
            }
            assert judged == expected and len(judged) == len(lines)


def test_the_archive_carries_no_time_and_no_owner():
    assert (SHIPPED / "mbeir_images.tar.gz.part-00").read_bytes()[4:8] == bytes(4)
    packed = b"".join(part.read_bytes() for part in sorted(SHIPPED.glob("mbeir_images.tar.gz.part-*")))
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in tar} == {(0, 0, 0, "")}


def test_the_archive_holds_exactly_the_pictures_that_the_records_name(shipped):
    assert set(shipped.images) == set().union(*(shipped.images_of(split) for split in SPLITS))


def test_no_two_pictures_have_the_same_pixels_and_no_picture_is_in_two_splits(shipped):
    from PIL import Image

    pixels = Counter()
    for content in shipped.images.values():
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (64, 64)
            pixels[hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()] += 1
    assert set(pixels.values()) == {1}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not shipped.images_of(first) & shipped.images_of(second)


def test_the_origin_of_every_picture_is_listed_with_its_hash_and_licence(shipped):
    lines = (SHIPPED / "image_origins.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["image", "package", "version", "licence", "source", "sha256"]
    rows = {line.split("\t")[0]: line.split("\t") for line in lines[1:]}
    assert set(rows) == set(shipped.images)
    for path, content in shipped.images.items():
        assert rows[path][5] == hashlib.sha256(content).hexdigest()
        assert all(rows[path])
        assert ("openmoji" in path) == (rows[path][3] == "CC-BY-SA-4.0")
    notice = (SHIPPED / "LICENCES" / "NOTICE.md").read_text(encoding="utf-8")
    assert all(package in notice for package in {row[1] for row in rows.values()})


@pytest.mark.parametrize("split", ["val", "test"])
def test_no_evaluation_text_was_a_training_query_or_a_positive_of_one(shipped, split):
    documents = {d["did"]: d for d in shipped.pools["train"]}
    train = [q for task in shipped.tasks for q in shipped.queries["train", task.name]]
    seen = {q["query_txt"] for q in train} | {documents[did]["txt"] for q in train for did in q["pos_cand_list"]}
    pool = {d["did"]: d for d in shipped.pools[split]}
    for task in shipped.tasks:
        for query in shipped.queries[split, task.name]:
            assert query["query_txt"] is None or query["query_txt"] not in seen
            assert all(pool[did]["txt"] is None or pool[did]["txt"] not in seen for did in query["pos_cand_list"])


def test_the_traps_of_wrong_modality_are_in_the_pool(shipped):
    texts = {d["txt"] for d in shipped.pools["test"] if d["modality"] == "text"}
    images = {d["img_path"] for d in shipped.pools["test"] if d["modality"] == "image"}
    assert all(q["query_txt"] in texts for q in shipped.queries["test", "emoji_task0"])
    own = [q["query_img_path"] in images for q in shipped.queries["test", "emoji_task3"]]
    assert sum(own) / len(own) > 0.5
    paired = {d["txt"] for d in shipped.pools["test"] if d["modality"] == "image,text"}
    assert paired <= texts


def test_an_image_query_for_an_image_is_not_its_own_candidate(shipped):
    for split in ("val", "test"):
        images = {d["img_path"]: d["did"] for d in shipped.pools[split] if d["modality"] == "image"}
        assert not any(q["query_img_path"] in images for q in shipped.queries[split, "emoji_task4"])


def test_texts_are_short_and_written_like_sentences(shipped):
    texts = [d["txt"] for pool in shipped.pools.values() for d in pool if d["txt"]]
    texts += [q["query_txt"] for queries in shipped.queries.values() for q in queries if q["query_txt"]]
    for text in texts:
        assert len(text.split()) <= 30
        assert text == sentence(text)
        assert "{" not in text and "(USD)" not in text and "\ufe0f" not in text


def test_four_instructions_are_there_for_every_task(shipped):
    lines = (SHIPPED / "instructions/query_instructions.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    keys = {(row[0], row[1], row[2], int(row[3])) for row in rows}
    assert keys == {(t.query_modality, t.candidate_modality, t.dataset, t.dataset_id) for t in shipped.tasks}
    assert all(len(set(row[4:])) == 4 for row in rows)


def test_sharing_words_with_the_question_does_not_find_the_passage(shipped):
    pool = [d for d in shipped.pools["test"] if d["modality"] == "text" and d["did"].startswith("21:")]
    words = {d["did"]: set(d["txt"].lower().rstrip(".?").split()) for d in pool}
    found = 0
    questions = shipped.queries["test", "atlas_task1"]
    for query in questions:
        asked = set(query["query_txt"].lower().rstrip(".?").split())
        ranked = sorted(words, key=lambda did: (-len(asked & words[did]) / len(asked | words[did]), did))
        found += bool(set(ranked[:5]) & set(query["pos_cand_list"]))
    assert found / len(questions) < 0.75


def test_the_export_has_the_published_layout_and_the_same_records(shipped, tmp_path):
    out = tmp_path / "published"
    export_mbeir_layout(SHIPPED, out)
    by_dataset = {"emoji": "20:", "atlas": "21:"}
    union = jsonl(out / "query/union_train/mbeir_union_up_train.jsonl")
    for dataset, prefix in by_dataset.items():
        own = jsonl(out / f"query/train/mbeir_{dataset}_train.jsonl")
        assert own == [q for q in union if q["qid"].startswith(prefix)]
    validation = [q for t in shipped.tasks for q in shipped.queries["val", t.name]]
    assert jsonl(out / "query/union_val/mbeir_union_val.jsonl") == validation
    for task in shipped.tasks:
        for split in ("val", "test"):
            local = jsonl(out / f"cand_pool/local/mbeir_{task.name}_{split}_cand_pool.jsonl")
            assert all(d in shipped.pools[split] for d in local[:20])
            fitting = [
                d["did"]
                for d in shipped.pools[split]
                if d["did"].startswith(f"{task.dataset_id}:") and d["modality"] == task.candidate_modality
            ]
            assert [d["did"] for d in local] == fitting
            positives = {did for q in shipped.queries[split, task.name] for did in q["pos_cand_list"]}
            assert positives <= set(fitting)
    again = Shipped(out)
    assert (again.queries, again.pools, again.images) == (shipped.queries, shipped.pools, shipped.images)
    assert all(
        (out / "qrels" / split / f"mbeir_{t.name}_{split}_qrels.txt").exists() for split in SPLITS for t in again.tasks
    )


def test_exporting_something_else_names_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"mbeir_union_up_train.jsonl: does not exist"):
        export_mbeir_layout(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_wording_is_used_by_two_splits():
    tables = [CAPTIONS, HINTS, PLAIN, TONED, PICTURED, *EDITS.values()]
    tables += [{split: getattr(relation, split) for split in SPLITS} for relation in RELATIONS.values()]
    for table in tables:
        wordings = [template for split in SPLITS for template in table[split]]
        assert len(set(wordings)) == len(wordings)


@given(st.sets(st.text(max_size=5), min_size=1), st.integers(0, 99), st.data())
def test_leaving_an_item_out_does_not_move_the_others(items, seed, choice):
    left_out = choice.draw(st.sampled_from(sorted(items)))
    without = [item for item in shuffled(items, seed, "test") if item != left_out]
    assert shuffled(items - {left_out}, seed, "test") == without
    assert 0 <= fraction(seed, *sorted(items)) < 1


def test_fetching_runs_npm_only_for_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / NPM_PACKAGES[0].archive).write_bytes(b"there already")
    commands = []

    def pack(command, *, cwd, **_):
        commands.append(command)
        (cwd / next(p for p in NPM_PACKAGES if command[-1] == f"{p.name}@{p.version}").archive).write_bytes(b"")

    monkeypatch.setattr(subprocess, "run", pack)
    fetched = fetch_packages(tmp_path)
    assert [command[-1] for command in commands] == [f"{p.name}@{p.version}" for p in NPM_PACKAGES[1:]]
    assert all(path.exists() for path in fetched)


def test_a_failing_npm_is_one_line_that_names_the_command(tmp_path, monkeypatch):
    def pack(command, **_):
        raise subprocess.CalledProcessError(1, command, stderr="npm error\nnpm error 404")

    monkeypatch.setattr(subprocess, "run", pack)
    with pytest.raises(InputError, match=r"npm pack .*twemoji@1.2.5.* failed: npm error 404"):
        fetch_packages(tmp_path)

"""What the user can mend ends as one line that names file, record and fix, and leaves no half-written file."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.sources.mbeir_folder import candidate, query
from tests.tiny import Ran, Tiny, done, files_below, json_lines, mmembed

POOL = "cand_pool/global/mbeir_union_test_cand_pool.jsonl"
QUERIES = "query/test/mbeir_mscoco_task0_test.jsonl"
QRELS = "qrels/test/mbeir_mscoco_task0_test_qrels.txt"


def refused(*arguments: object) -> str:
    """Run `mmembed` on something wrong; return the one line that it says."""
    return the_line(mmembed(*arguments))


def the_line(ran: Ran) -> str:
    assert ran.status == 2
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("mmembed: error: ")
    assert "(fix: " in ran.err
    return ran.err.removeprefix("mmembed: error: ")


@pytest.fixture
def source(tiny: Tiny, tmp_path: Path) -> Path:
    """M-BEIR's layout to break: the test split alone."""
    root = shutil.copytree(tiny.source, tmp_path / "source")
    for folder in ("query/train", "query/val", "qrels/train", "qrels/val"):
        shutil.rmtree(root / folder)
    return root


@pytest.fixture
def data(tiny: Tiny, tmp_path: Path) -> Path:
    """A data directory to break."""
    return shutil.copytree(tiny.data, tmp_path / "data")


def append(path: Path, record: dict) -> int:
    """Add a line to a JSONL file; return its number."""
    path.write_text(path.read_text() + json.dumps(record) + "\n")
    return len(path.read_text().splitlines())


def shard_flags(root: Path, out: Path) -> tuple:
    return ("shard", "--source", "mbeir", "--root", root, "--out", out)


# A source that is wrong


def repeat_a_document(root: Path) -> str:
    line = append(root / POOL, candidate("9:3", image=3))
    return f"{POOL}:{line}: 9:3: "


def give_a_document_nothing(root: Path) -> str:
    line = append(root / POOL, {**candidate("9:999"), "modality": "text"})
    return f"{POOL}:{line}: 9:999: "


def misspell_a_modality(root: Path) -> str:
    line = append(root / POOL, {**candidate("9:999", text="Words."), "modality": "words"})
    return f"{POOL}:{line}: 9:999: modality 'words' is unknown"


def spoil_an_image(root: Path) -> str:
    (root / "mbeir_images/a/3.jpg").write_bytes(b"no image at all")
    return f"{POOL}:4: 9:3: mbeir_images/a/3.jpg: the image cannot be read"


def cut_an_image(root: Path) -> str:
    image = root / "mbeir_images/a/3.jpg"
    image.write_bytes(image.read_bytes()[:-40])
    return f"{POOL}:4: 9:3: mbeir_images/a/3.jpg: the image is cut short"


def claim_a_huge_image(root: Path) -> str:
    """A PNG of 33 bytes that says it has 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (root / "mbeir_images/a/3.jpg").write_bytes(png)
    return f"{POOL}:4: 9:3: mbeir_images/a/3.jpg: the image "


def lose_an_image(root: Path) -> str:
    (root / "mbeir_images/a/3.jpg").unlink()
    return f"{POOL}:4: 9:3: "


def judge_an_unknown_document(root: Path) -> str:
    (root / QRELS).write_text((root / QRELS).read_text() + "9:2014 0 9:777 1 0\n")
    return "qrels/test.txt: 9:2014 9:777: names an unknown document"


def judge_an_unknown_query(root: Path) -> str:
    (root / QRELS).write_text((root / QRELS).read_text() + "9:4444 0 9:3 1 0\n")
    return "qrels/test.txt: 9:4444 9:3: names an unknown query"


def break_the_json(root: Path) -> str:
    (root / QUERIES).write_text((root / QUERIES).read_text() + '{"qid": \n')
    return f"{QUERIES}:5: is not JSON"


def ask_for_an_unknown_positive(root: Path) -> str:
    line = append(root / QUERIES, query("9:2999", 0, ["9:777"], text="Where?"))
    return f"{QUERIES}:{line}: 9:2999: "


SOURCES = [
    repeat_a_document,
    give_a_document_nothing,
    misspell_a_modality,
    spoil_an_image,
    cut_an_image,
    claim_a_huge_image,
    lose_an_image,
    judge_an_unknown_document,
    judge_an_unknown_query,
    break_the_json,
    ask_for_an_unknown_positive,
]


@pytest.mark.parametrize("damage", SOURCES)
def test_a_wrong_source_is_refused_by_file_and_record(damage: Callable[[Path], str], source, tmp_path):
    expected = damage(source)
    line = refused(*shard_flags(source, tmp_path / "out"))
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_row_that_the_instruction_file_lacks_is_named_before_anything_is_trained(tiny, source, tmp_path):
    rows = "query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\ntext\timage\tMSCOCO\t9\tFind it.\n"
    (source / "instructions").mkdir()
    (source / "instructions/query_instructions.tsv").write_text(rows)
    done(*shard_flags(source, tmp_path / "data"))
    flags = tiny.fit(tmp_path / "run", command="test", data__path=tmp_path / "data")
    line = refused(*flags)
    assert "instructions.tsv: has no instruction for " in line
    assert "(fix: add a row with query_modality " in line


def test_skipping_goes_on_counts_and_lists_every_skipped_sample(source, tmp_path):
    repeat_a_document(source), give_a_document_nothing(source), misspell_a_modality(source)
    (source / "mbeir_images/a/5.jpg").write_bytes(b"no image at all")
    (source / "mbeir_images/a/95.jpg").unlink()  # the query image of concept 15, asked with twice
    ran = done(*shard_flags(source, tmp_path / "out"), "--on-bad-sample", "skip")
    listed = {(row["part"], row["id"]) for row in json_lines(tmp_path / "out/skipped.jsonl")}
    assert listed == {
        ("candidates/test", "9:3"),
        ("candidates/test", "9:999"),
        ("candidates/test", "9:5"),
        ("queries/test", "9:2515"),
        ("queries/test", "8:2015"),
    }
    lines = json_lines(tmp_path / "out/skipped.jsonl")
    assert len(lines) == 6
    assert "skipped 6 damaged samples" in ran.out
    assert all(row["error"] for row in lines)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["counts"], manifest["skipped"]) == ({"candidates/test": 71, "queries/test": 14}, 6)


# Shards that are wrong


def a_shard(data: Path) -> Path:
    return data / "candidates/test/000000.tar"


def remove_it(shard: Path) -> str:
    shard.unlink()
    return "the shard is missing"


def cut_it(shard: Path) -> str:
    shard.write_bytes(shard.read_bytes()[:-5000])
    return "bytes instead of"


def flip_a_byte(shard: Path) -> str:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    return "damaged: the checksum does not match"


@pytest.mark.parametrize("damage", [remove_it, cut_it, flip_a_byte])
def test_a_damaged_shard_is_named_and_no_store_is_left(damage, data, tiny_run, tmp_path):
    expected = damage(a_shard(data))
    flags = ("--model", tiny_run / "model", "--data", data / "candidates/test")
    line = refused("encode", *flags, "--out", tmp_path / "store")
    assert expected in line
    assert line.startswith(str(a_shard(data)))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("damage", [remove_it, cut_it, flip_a_byte])
def test_verify_lists_the_damage_and_fails(damage, data):
    damage(a_shard(data))
    ran = mmembed("shard", "--verify", data)
    assert ran.status == 1
    assert str(a_shard(data)) in ran.out
    assert "problems" in ran.out.splitlines()[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_on_a_damaged_shard_ends_as_one_line_also_out_of_a_worker(workers, data, tiny, tmp_path):
    flip_a_byte(data / "queries/train/000000.tar")
    line = refused(*tiny.fit(tmp_path / "run", data__path=data, data__workers=workers))
    assert "key " in line and "at offset" in line
    assert not (tmp_path / "run/model").exists()


def test_training_with_skip_lists_the_damaged_query_and_takes_another(data, tiny, tmp_path, caplog):
    flip_a_byte(data / "queries/train/000000.tar")
    done(*tiny.fit(tmp_path / "run", data__path=data, data__on_bad_sample="skip"))
    assert any("skipped a training query" in message and "at offset" in message for message in caplog.messages)


# Stores, runs and qrels that do not fit


def copied_store(store: Path, target: Path, **changes: object) -> Path:
    shutil.copytree(store, target)
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return target


def test_stores_of_other_weights_are_not_compared(tiny_run, tmp_path):
    other = copied_store(tiny_run / "mining/candidates", tmp_path / "other", weights_hash="0" * 64)
    flags = ("--queries", tiny_run / "mining/queries", "--candidates", other)
    line = refused("search", *flags, "--out", tmp_path / "run.parquet")
    assert line.startswith(f"{other}: was made by other weights (000000000000) than {tiny_run / 'mining/queries'}")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_store_whose_vectors_are_cut_is_named(tiny_run, tmp_path):
    store = copied_store(tiny_run / "mining/candidates", tmp_path / "cut")
    vectors = store / "vectors.npy"
    vectors.write_bytes(vectors.read_bytes()[:-100])
    flags = ("--queries", tiny_run / "mining/queries", "--candidates", store)
    assert refused("search", *flags, "--out", tmp_path / "run.parquet").startswith(f"{vectors}: ")


def test_a_run_with_an_unknown_query_or_document_is_not_mined(tiny, tmp_path):
    for row, what in (("9:77777 Q0 9:1 1 0.5 x", "query 9:77777"), ("9:0 Q0 9:77777 1 0.5 x", "document 9:77777")):
        (tmp_path / "run.trec").write_text(f"{row}\n")
        files = ("--queries", tiny.data / "queries/train", "--candidates", tiny.data / "candidates/train")
        line = refused("mine", "--run", tmp_path / "run.trec", *files, "--out", tmp_path / "negatives.parquet")
        assert line.startswith(f"{tmp_path / 'run.trec'}: {what} of the run is not in ")
        assert not (tmp_path / "negatives.parquet").exists()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("9:2014 Q0 9:1 1 much x", "line 2: score 'much' is not a number"),
        ("9:2014 Q0 9:1 1 0.5", "line 2: has 5 columns"),
        ("9:2014 Q0 9:3 1 0.4 x", "line 2: document 9:3 stands twice for query 9:2014"),
        ("9:77777 Q0 9:3 1 0.4 x", "query 9:77777 of the run is not"),
    ],
)
def test_a_broken_run_is_not_scored(tiny, tmp_path, row, problem):
    (tmp_path / "run.trec").write_text(f"9:2014 Q0 9:3 1 0.5 x\n{row}\n")
    files = ("--run", tmp_path / "run.trec", "--qrels", tiny.data / "qrels/test.txt")
    assert problem in refused("evaluate", *files, "--json", tmp_path / "scores.jsonl")
    assert not (tmp_path / "scores.jsonl").exists()


def test_missing_files_are_named(tiny, tiny_run, tmp_path):
    nowhere, out = tmp_path / "nowhere", tmp_path / "out"
    model, data = ("--model", tiny_run / "model"), ("--data", tiny.data)
    commands = [
        ("shard", "--source", "mbeir", "--root", nowhere, "--out", out),
        ("tokenizer", "--data", nowhere, "--out", out),
        ("encode", "--model", nowhere, *data, "--out", out),
        ("encode", *model, "--data", nowhere / "queries/test", "--out", out),
        ("search", "--queries", nowhere, "--candidates", nowhere, "--out", out),
        ("mine", "--run", nowhere, "--queries", nowhere, "--candidates", nowhere, "--out", out),
        ("evaluate", "--run", nowhere, "--qrels", tiny.data / "qrels/test.txt", "--json", out),
        ("evaluate", *model, "--data", nowhere, "--out", out),
        ("compare", "--runs", nowhere, nowhere, "--qrels", tiny.data / "qrels/test.txt"),
        ("run", nowhere),
        tiny.fit(out, data__path=nowhere),
        tiny.fit(out, data__negatives=nowhere),
        tiny.fit(out, model__weights=nowhere),
    ]
    for command in commands:
        assert str(nowhere) in refused(*command), command
        assert not (out / "model").exists() and not out.is_file()


def test_flags_that_are_missing_unknown_or_no_number_are_named():
    assert refused("compare", "--k", 5).startswith("`mmembed compare` needs two or more run")
    assert refused("compare", "--qrels", "q").startswith("`mmembed compare` needs --runs")
    assert refused("compare", "a", "b", "--qrels", "q").startswith("`mmembed compare` takes folders, or --runs")
    assert refused("doctor", "--colour").startswith("unrecognized arguments: --colour")
    assert "--depth: invalid int value: 'deep'" in refused("search", "--depth", "deep")
    assert refused("mine", "--queries", "q", "--candidates", "c", "--out", "n").startswith("`mmembed mine` needs --run")
    assert "needs --source, --root, --out" in refused("shard")


# A full disk


def full(*_: object, **__: object) -> None:
    """Write as on a full disk."""
    raise OSError(errno.ENOSPC, "No space left on device", "somewhere/big")


@pytest.mark.parametrize("writing", ["os.fsync", "pyarrow.parquet.write_table", "numpy.savez", "numpy.memmap"])
def test_a_full_disk_ends_every_stage_without_half_a_file(writing, tiny, tiny_run, source, tmp_path, monkeypatch):
    out, model = tmp_path / "out", ("--model", tiny_run / "model")
    pool = ("--queries", tiny.data / "queries/train", "--candidates", tiny.data / "candidates/train")
    stores = ("--queries", tiny_run / "mining/queries", "--candidates", tiny_run / "mining/candidates")
    judged = ("--run", tiny_run / "mining/run.parquet", "--qrels", tiny.data / "qrels/train.txt")
    commands = {
        ("shard", "--source", "mbeir", "--root", source, "--out", out): {"os.fsync", "pyarrow.parquet.write_table"},
        ("tokenizer", "--data", tiny.data, "--out", out): {"os.fsync"},
        ("encode", *model, "--data", tiny.data / "queries/test", "--out", out): {
            "os.fsync",
            "pyarrow.parquet.write_table",
            "numpy.memmap",
        },
        ("search", *stores, "--out", out): {"os.fsync", "pyarrow.parquet.write_table", "numpy.savez"},
        ("mine", "--random", 2, *pool, "--out", out): {"os.fsync", "pyarrow.parquet.write_table"},
        ("evaluate", *judged, "--json", out): {"os.fsync"},
    }
    monkeypatch.setattr(writing, full)
    for command in [command for command, writes in commands.items() if writing in writes]:
        assert refused(*command).startswith("somewhere/big: No space left on device"), command
        assert not out.exists(), command


def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(source, tmp_path):
    """The system's own error: this process may not write more than 20 kB into a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        line = refused(*shard_flags(source, tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_may_not_be_written_is_one_line(source, tmp_path, monkeypatch):
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "somewhere/shut")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    assert refused(*shard_flags(source, tmp_path / "out")).startswith("somewhere/shut: Permission denied")


# Configurations


def test_a_class_outside_the_allow_list_is_refused_and_can_be_allowed(tiny, tmp_path):
    flag = "--trainer.callbacks+=tests.training.callbacks.StopAt"
    flags = tiny.fit(tmp_path / "run", flag, "--trainer.callbacks.init_args.step=1000")
    line = refused(*flags)
    assert "tests.training.callbacks.StopAt" in line
    assert not (tmp_path / "run").exists()
    done(*flags, "--allow-imports=tests")
    assert (tmp_path / "run/model").exists()


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--data.colour=red", "colour"),
        ("--data.batch_size=many", "batch_size"),
        ("--data.prompts=loud", "prompts"),
        ("--model.loss.init_args.heat=1", "heat"),
        ("--trainer.max_stepz=1", "max_stepz"),
    ],
)
def test_a_wrong_flag_of_a_fit_is_one_line_that_names_it(tiny, tmp_path, flag, named):
    assert named in refused(*tiny.fit(tmp_path / "run", flag))
    assert not (tmp_path / "run").exists()


def test_a_wrong_key_in_a_yaml_is_one_line_that_names_it(tiny, tmp_path):
    (tmp_path / "wrong.yaml").write_text("data:\n  colour: red\n")
    assert "colour" in refused(*tiny.fit(tmp_path / "run", "-c", tmp_path / "wrong.yaml"))
    assert "absent.yaml" in refused(*tiny.fit(tmp_path / "run", "-c", tmp_path / "absent.yaml"))
    (tmp_path / "broken.yaml").write_text("data: [\n")
    assert "broken.yaml" in refused(*tiny.fit(tmp_path / "run", "-c", tmp_path / "broken.yaml"))


def test_a_fit_does_not_start_over_an_earlier_run(tiny, tiny_run):
    before = set(files_below(tiny_run))
    assert "already holds a run" in refused(*tiny.fit(tiny_run))
    assert set(files_below(tiny_run)) == before


RECIPES = {
    "name: x\nstages:\n  a: {command: shard, colour: red}\n": "stage a: unknown keys ['colour']",
    "name: x\nstages:\n  a: {arguments: {}}\n": "stage a: `command` is missing",
    "name: x\n": "`stages` is missing",
    "stages: {}\n": "`name` is missing",
    "- a\n": "is not a recipe",
    "name: [\n": "is not YAML",
    "name: x\nstages:\n  a: {command: fit, config: [absent.yaml]}\n": "configuration absent.yaml does not exist",
    "name: x\nstages:\n  a: {command: teach}\n": "there is no stage 'teach'",
    'name: x\nstages:\n  a: {command: mine, arguments: {run: "${stage:b}/run"}}\n': "stage a: cannot be resolved",
    'name: x\nstages:\n  a: {command: mine, arguments: {run: "${vars.none}"}}\n': "stage a: cannot be resolved",
    "name: x\nstages:\n  a: {command: shard, arguments: {colour: red}}\n": "unrecognized arguments: --colour red",
}


@pytest.mark.parametrize(("content", "problem"), RECIPES.items())
def test_a_wrong_recipe_is_one_line(content, problem, tmp_path):
    (tmp_path / "recipe.yaml").write_text(content)
    line = refused("run", tmp_path / "recipe.yaml", "--out", tmp_path / "runs")
    assert problem in line
    assert not list(tmp_path.glob("runs/**/stage.json"))


def test_the_console_command_prints_one_line_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "lit_mmembed", "tokenizer", "--data", str(tmp_path), "--out", "x"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert the_line(Ran(ended.returncode, ended.stdout, ended.stderr)).startswith(str(tmp_path))

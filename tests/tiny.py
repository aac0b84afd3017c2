"""A benchmark, an encoder and runs so small that a test can go through the whole command line in a second."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.__main__ import main
from tests.data.sources.mbeir_folder import candidate, query, write_lines
from tests.encoders.small import jpeg

ROOT = Path(__file__).parents[1]
WORDS = (
    *("red", "fox", "blue", "whale", "green", "tree", "old", "clock", "tall"),
    *("tower", "small", "boat", "wild", "horse", "warm", "bread", "cold", "river"),
)
TASK_NAMES = {0: "mscoco_task0", 3: "mscoco_task3", 7: "cirr_task7", 1: "webqa_task1"}
TEXT_ONLY, IMAGE_ONLY = {1: "webqa_task1"}, {4: "nights_task4"}
SPLITS = {"train": (0, 10), "val": (10, 14), "test": (14, 18)}
"""Concepts (of 18) that each split's queries ask for; every pool holds all of them."""

SMALL_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {
        "context_length": 24,
        "vocab_size": 400,
        "width": 32,
        "heads": 2,
        "layers": 1,
        "pool_type": "eos",
        "eos_id": 2,
    },
}


class Ran(NamedTuple):
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str


def mmembed(*arguments: object) -> Ran:
    """Run `mmembed` in this process, as the console command does."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ran(status, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Ran:
    """Run `mmembed` and insist that it ends well."""
    ran = mmembed(*arguments)
    assert ran.status == 0, ran.err
    return ran


def write_source(root: Path, names: Mapping[int, str] = TASK_NAMES) -> Path:
    """M-BEIR's layout with these rows: 10 queries of each to train on, 4 to validate, 4 to test; 18 documents each."""
    concepts = range(18)
    documents = [candidate(f"9:{n}", image=n) for n in concepts]
    documents += [candidate(f"9:{100 + n}", text=_caption(n)) for n in concepts]
    documents += [candidate(f"8:{n}", image=50 + n) for n in concepts]
    documents += [candidate(f"2:{n}", text=f"{_caption(n)} It stands in an article.") for n in concepts]
    if 4 in names:
        documents += [candidate(f"4:{n}", image=50 + n) for n in concepts]
    for split, (first, end) in SPLITS.items():
        write_lines(root / f"cand_pool/global/mbeir_union_{split}_cand_pool.jsonl", documents)
        for task, name in names.items():
            records = [_query(task, n, split) for n in range(first, end)]
            write_lines(root / f"query/{split}/mbeir_{name}_{split}.jsonl", records)
            lines = [f"{row['qid']} 0 {did} 1 {task}\n" for row in records for did in row["pos_cand_list"]]
            qrels = root / f"qrels/{split}/mbeir_{name}_{split}_qrels.txt"
            qrels.parent.mkdir(parents=True, exist_ok=True)
            qrels.write_text("".join(lines))
    images = root / "mbeir_images/a"
    images.mkdir(parents=True)
    for number in (*concepts, *(50 + n for n in concepts), *(80 + n for n in concepts)):
        (images / f"{number}.jpg").write_bytes(jpeg(number, (24, 20)))
    return root


def _caption(n: int) -> str:
    return f"A {WORDS[n % len(WORDS)]} {WORDS[(n * 7 + 3) % len(WORDS)]} {n}."


def _query(task: int, n: int, split: str) -> dict:
    number = 1000 * list(SPLITS).index(split) + n
    if task == 0:
        return query(f"9:{number}", 0, [f"9:{n}", f"9:{(n + 1) % 18}"], text=_caption(n))
    if task == 3:
        return query(f"9:{500 + number}", 3, [f"9:{100 + n}"], image=80 + n)
    if task == 4:
        return query(f"4:{number}", 4, [f"4:{n}"], image=80 + n)
    if task == 7:
        return query(f"8:{number}", 7, [f"8:{n}"], text=f"Make it {WORDS[n]}.", image=80 + n)
    return query(f"2:{number}", 1, [f"2:{n}"], text=f"Where does {WORDS[n]} stand?")


def write_encoder(path: Path) -> Path:
    """The JSON that experiments/encoders/tiny_clip.json is, smaller."""
    path.write_text(json.dumps(SMALL_CLIP))
    return path


class Tiny(NamedTuple):
    """The files that every run of the tests begins with."""

    source: Path
    """M-BEIR's layout."""
    data: Path
    """Its shards."""
    encoder: Path
    """An open_clip configuration."""
    tokenizer: Path

    def fit(self, folder: Path, *flags: object, command: str = "fit", **settings: Any) -> list[str]:
        """The command line of a fit into `folder`; `settings` are flags whose dots are written `__`."""
        chosen = {
            "data.path": self.data,
            "data.batch_size": 8,
            "model.encoder.init_args.backbone.init_args.config": self.encoder,
            "model.encoder.init_args.backbone.init_args.tokenizer": self.tokenizer,
            "trainer.max_steps": 6,
            "trainer.val_check_interval": "null",
            "trainer.log_every_n_steps": 1,
            "trainer.enable_progress_bar": "false",
            "folder": folder,
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        files = ("experiments/encoders/clip_sf_tiny.yaml", "experiments/emoji_beir/train.yaml")
        configs = [part for file in files for part in ("-c", str(ROOT / file))]
        given = [str(flag) for flag in flags]
        return [command, *configs, *given, *(f"--{name}={value}" for name, value in chosen.items())]


def rows(path: Path) -> list[dict]:
    """The rows of a Parquet file."""
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def json_lines(path: Path) -> list[dict]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def files_below(folder: Path) -> Iterator[str]:
    """Every file below a folder, relative to it."""
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())

"""`mmembed shard --verify DIR`: every byte of a data directory or shard set against what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.reader import ShardReader, read_manifest, size_problems
from lit_mmembed.data.shards import INDEX_FILE
from lit_mmembed.errors import InputError
from lit_mmembed.files import content_hash, file_hash
from lit_mmembed.progress import progress

Step = Callable[..., None]

FIX = "fetch or build the shard again"


def verify(folder: str | Path) -> list[str]:
    """Return one line per damage; an empty list means that every byte is as written.

    Damaged samples are named by shard, key and offset; damage between samples by shard.
    """
    with progress("verify", unit="samples") as step:
        return _problems(Path(folder), step)


def _problems(folder: Path, step: Step) -> list[str]:
    if (folder / INDEX_FILE).exists():
        return [str(problem) for problem in _shard_set_problems(folder, step)]
    try:
        directory = DataDirectory(folder, on_bad_sample="skip")
    except InputError as broken:
        return [str(broken)]
    return [str(problem) for problem in _directory_problems(directory, step)]


def _directory_problems(directory: DataDirectory, step: Step) -> Iterator[InputError]:
    manifest = directory.manifest
    content = {name: manifest.get(name) for name in ("schema", "name", "tasks", "parts", "files")}
    if content_hash(content) != manifest["hash"]:
        yield InputError(
            "the manifest does not match its hash", file=directory.path / "manifest.json", fix="shard the data again"
        )
    for name, expected in manifest["files"].items():
        path = directory.path / name
        if not path.exists() or file_hash(path) != expected:
            yield InputError("the file is missing or damaged", file=path, fix="shard the data again")
    for part, expected in manifest["parts"].items():
        yield from _shard_set_problems(directory.path / part, step, expected)


def _shard_set_problems(folder: Path, step: Step, expected: str | None = None) -> Iterator[InputError]:
    try:
        manifest = read_manifest(folder)
    except InputError as broken:
        yield broken
        return
    content = {name: value for name, value in manifest.items() if name != "hash"}
    if content_hash(content) != manifest["hash"] or (expected and manifest["hash"] != expected):
        yield InputError("the manifest does not match its hash", file=folder / "manifest.json", fix=FIX)
    yield from size_problems(folder, manifest)
    reader = ShardReader(folder, on_bad_sample="skip")
    damaged = []
    for row in range(len(reader)):
        if problem := reader.check(row):
            damaged.append(problem)
        step(1)
    yield from damaged
    shards_with_damage = {problem.file for problem in damaged}
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        if str(path) not in shards_with_damage and path.exists() and file_hash(path) != shard["sha256"]:
            yield InputError("damaged outside of any sample", file=path, fix=FIX)

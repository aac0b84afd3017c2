"""Writing so that a reader never finds half a file: write beside the target, flush to disk, rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError

PARTIAL = ".partial"


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the final name only when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a folder to fill; it takes the final name only when the block ends well.

    Raises:
        InputError: the target exists already and `replace` is not set.
    """
    path = Path(path)
    if path.exists() and not replace:
        raise InputError("exists already", file=path, fix="name a new folder, or remove this one first")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            _flush(file)
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def beside(path: Path) -> Path:
    """Return where several processes write, together, what `put_in_place` then gives the name `path`."""
    return path.with_name(f"{path.name}{PARTIAL}")


def clear_beside(path: Path) -> None:
    """Remove what a killed run left beside `path`; the old one first: `find_again` takes it as a sign."""
    _remove(_old(path))
    _remove(beside(path))


def put_in_place(path: Path) -> None:
    """Give the name `path` to the file or folder `beside` it, once all have written it; one process calls it.

    A folder can't take the place of another in one step: the old one is moved aside and removed afterwards. What is
    killed between the two renames is put right by `find_again`.
    """
    new = beside(path)
    for file in (new, *new.rglob("*")):
        _flush(file)
    if path.exists():
        path.rename(_old(path))
    new.rename(path)
    _flush(path.parent)
    _remove(_old(path))


def find_again(path: Path) -> None:
    """Finish a `put_in_place` that was killed between its renames; several processes may come at the same time.

    With the old one aside and nothing in its place, what lies beside is whole: it is only then that the old one moves.
    """
    if not path.exists() and _old(path).exists():
        with suppress(FileNotFoundError):  # another process was first, or a user removed `path`
            beside(path).rename(path)


def write_json(path: str | Path, content: Any) -> None:
    """Write canonical JSON (sorted keys, two spaces, a final line break), atomically."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read JSON; InputError names the file when it is missing or broken."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="check the path, or make it first") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as broken:
        raise InputError(f"is not JSON: {broken}", file=path, fix="repair it, or make it again") from None


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(content: Any) -> str:
    """SHA-256 of something's canonical JSON, in hexadecimal."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old{PARTIAL}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Writing so that a reader never finds half a file: write beside the target, flush to disk, rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

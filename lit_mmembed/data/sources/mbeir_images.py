"""M-BEIR's images: from a folder, or streamed once from the published tar in parts, which is never unpacked.

A consumer names the images it wants; a folder gives them in that order, the tar in its own.
"""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO

from lit_mmembed.errors import InputError
from lit_mmembed.types import stable_id

FOLDER = "mbeir_images"
BUFFER = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"


def read_image(root: Path, image_path: str) -> bytes:
    """Read one image of the folder; InputError when it is missing or lies outside `root`."""
    if posixpath.isabs(image_path) or ".." in image_path.split("/"):
        raise InputError(f"image path {image_path!r} leaves the folder", fix="give a path below the data's folder")
    try:
        return (root / image_path).read_bytes()
    except OSError as missing:
        reason = missing.strerror or str(missing)
        raise InputError(f"image {image_path} cannot be read: {reason}", fix="fetch the image again") from None


def image_archive(root: Path) -> list[Path]:
    """Return the parts of `mbeir_images.tar.gz` in order, empty when there is no archive.

    Raises:
        InputError: a part is missing, or is shorter than the others (a download that broke off).
    """
    for pattern in (f"{FOLDER}.tar.gz", f"{FOLDER}.tar"):
        if (root / pattern).exists():
            return [root / pattern]
        parts = sorted(root.glob(f"{pattern}.part-*"))
        if parts:
            _check_parts(parts)
            return parts
    return []


def stream_images(parts: Sequence[Path], wanted: Collection[int]) -> Iterator[tuple[int, bytes]]:
    """Yield (`stable_id` of the path, content) of each wanted image, in the archive's order, each once.

    Raises:
        InputError: the archive breaks off or is damaged; it names the part.
    """
    left = set(wanted)
    source = _Concatenated(parts)
    try:
        with _decompressed(source) as stream:
            with tarfile.open(fileobj=stream, mode="r|", bufsize=BUFFER) as archive:
                for member in archive:
                    name = stable_id(_member_path(member.name))
                    if not member.isfile() or name not in left:
                        continue
                    content = archive.extractfile(member)
                    assert content is not None
                    left.discard(name)
                    yield name, content.read()
            _drain(stream)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as broken:
        where = source.current
        raise InputError(f"the archive breaks off or is damaged: {broken}", file=where, fix="fetch it again") from None


class _Concatenated(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._left = list(parts)
        self.current = parts[0]
        self._stream: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while True:
            if self._stream is None:
                if not self._left:
                    return 0
                self.current = self._left.pop(0)
                self._stream = self.current.open("rb", buffering=0)
            size = self._stream.readinto(buffer)  # type: ignore[attr-defined]
            if size:
                return size
            self._stream.close()
            self._stream = None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()


def _decompressed(source: _Concatenated) -> IO[bytes]:
    stream = io.BufferedReader(source, BUFFER)
    if stream.peek(2)[:2] == GZIP_MAGIC:
        return gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[return-value]
    return stream


def _drain(stream: IO[bytes]) -> None:
    """Read on to the end, wanted or not: the checksum of everything before stands there."""
    while stream.read(BUFFER):
        pass


def _member_path(name: str) -> str:
    """The path as the JSON writes it: without a leading "./" or a folder above `mbeir_images`."""
    path = posixpath.normpath(name)
    start = path.find(f"{FOLDER}/")
    return path[start:] if start > 0 else path


def _check_parts(parts: Sequence[Path]) -> None:
    """Parts are cut to one size (the last may be smaller) and numbered from 0, as `split -d` does."""
    for place, part in enumerate(parts):
        number = re.search(r"part-(\d+)$", part.name)
        if number and int(number[1]) != place:
            missing = part.with_name(f"{part.name[: number.start(1)]}{place:02d}")
            raise InputError("is missing", file=missing, fix="fetch every part of the archive")
    size = max(part.stat().st_size for part in parts)
    for part in parts[:-1]:
        if part.stat().st_size < size:
            problem = f"is cut short: {part.stat().st_size:,} bytes where another part has {size:,}"
            raise InputError(problem, file=part, fix="fetch this part again")

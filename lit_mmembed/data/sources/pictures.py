"""Pictures by name, wherever they lie: in a folder, or in a zip or an uncompressed tar that is never unpacked."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from lit_mmembed.errors import InputError

ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
ARCHIVES = (".zip", ".tar")


class Pictures:
    """Pictures that are found by their file's name without its ending; folders between do not count.

    Args:
        place: Where they lie, for messages.
        paths: Their paths below `place`. Of two with one name the first in path order counts.
        read: Path -> content.
    """

    def __init__(self, place: Path, paths: Iterable[str], read: Callable[[str], bytes]) -> None:
        self.place = place
        self._read = read
        self._paths: dict[str, str] = {}
        for path in sorted(paths):
            name = PurePosixPath(path)
            if name.suffix.lower() in ENDINGS and not name.name.startswith("."):
                self._paths.setdefault(name.stem, path)

    @property
    def names(self) -> list[str]:
        """All names, in the order of their paths."""
        return list(self._paths)

    def read(self, name: str) -> bytes:
        """Return the encoded picture.

        Raises:
            InputError: there is none of this name, or it cannot be read.
        """
        if name not in self._paths:
            raise InputError(f"there is no picture {name}", file=self.place, fix="fetch it, or skip what needs it")
        try:
            return self._read(self._paths[name])
        except (OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as broken:
            raise InputError(
                f"picture {name} cannot be read: {broken}", file=self.place, fix="fetch it again"
            ) from None


def open_pictures(places: Sequence[Path]) -> Pictures:
    """Open the first of these folders that is there, or the zip or tar of the same name.

    Raises:
        InputError: there is none of them, or the archive is damaged.
    """
    for place in places:
        if place.is_dir():
            return Pictures(place, _files_below(place), lambda path, place=place: (place / path).read_bytes())  # type: ignore[misc]
        for ending in ARCHIVES:
            archive = place.with_name(place.name + ending)
            if archive.is_file():
                return _open_archive(archive)
    compressed = [found for place in places for found in sorted(place.parent.glob(f"{place.name}.t*gz"))]
    if compressed:
        raise InputError("is compressed: no picture can be looked up", file=compressed[0], fix="gunzip or unpack it")
    wanted = ", ".join(f"{place.name}/" for place in places[1:])
    raise InputError(
        f"does not exist{wanted and f', nor {wanted}'}", file=places[0], fix="fetch the pictures: docs/composed.md"
    )


def _files_below(folder: Path) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        below = Path(parent).relative_to(folder).as_posix()
        yield from files if below == "." else (f"{below}/{file}" for file in files)


def _open_archive(path: Path) -> Pictures:
    try:
        if path.suffix == ".zip":
            archive = zipfile.ZipFile(path)
            return Pictures(path, archive.namelist(), archive.read)
        tar = tarfile.open(path, mode="r:")  # noqa: SIM115 - read from until the process ends
        members = {member.name: member for member in tar.getmembers() if member.isfile()}
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as broken:
        raise InputError(f"is not an archive: {broken}", file=path, fix="fetch it again") from None

    def read(name: str) -> bytes:
        content = tar.extractfile(members[name])
        assert content is not None
        return content.read()

    return Pictures(path, members, read)

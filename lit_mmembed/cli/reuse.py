"""Finished stages of other run folders, taken over in place of being run again.

A stage is the same as another if its fingerprint is: command, arguments, configuration files' content, seed, the
fingerprints of what it reads, version. Only each `stage.json` is read to find one.

A folder that is taken over is filled beside its place and renamed into it; `stage.json` is written after that, so half
a copy never looks done. Files of the types in LINKED are hard links where the file system has them: whatever writes
them here writes another file and renames it, so that no run changes another's. All others are copied: logs are
appended to and cut by a `fit` that goes on, `resume.ckpt` is rewritten by whatever strategy trains, `wandb
sync` marks its folders, and mteb keeps files of its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.files import PARTIAL, atomic_folder, read_json

DONE = "stage.json"
STARTED = "started.json"
LINKED = frozenset({".arrow", ".npy", ".parquet", ".safetensors", ".tar"})


class TakenOver(NamedTuple):
    """Where a stage comes from."""

    place: str
    """The other stage's folder, seen from the folder of run folders."""
    record: dict[str, Any]
    """The other's run record."""


class Finished:
    """The finished stages of all run folders: OUT/*/shared/* and OUT/*/seedN/*/*.

    Args:
        out: OUT, which need not exist.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._folders: dict[str, list[Path]] = {}
        found = [(mark, _content(mark)) for mark in _marks(out)]
        for mark, content in sorted(found, key=lambda pair: ("reused_from" in pair[1], str(pair[0]))):
            self.add(str(content.get("fingerprint")), mark.parent)

    @property
    def folders(self) -> dict[str, Path]:
        """Fingerprint -> the folder that is taken over; the one that ran the stage, if it is still there."""
        return {fingerprint: found[0] for fingerprint, found in self._folders.items()}

    def add(self, fingerprint: str, folder: Path) -> None:
        """Note a stage that has just been finished."""
        self._folders.setdefault(fingerprint, []).append(folder)

    def take_over(self, fingerprint: str, folder: Path) -> TakenOver | None:
        """Fill a stage's folder with what another run folder has of the same stage; None where none has it.

        The caller writes `stage.json`: until then the folder is nobody's.
        """
        for other in self._folders.get(fingerprint, ()):
            if other == folder:
                continue
            content = _content(other / DONE)
            if content.get("fingerprint") != fingerprint:
                continue
            try:
                with atomic_folder(folder, replace=True) as partial:
                    _fill(partial, other)
                    if _content(other / DONE) != content:
                        raise FileNotFoundError(other / DONE)
                    (folder / DONE).unlink(missing_ok=True)
            except FileNotFoundError:  # the other folder is being removed: something may be missing
                continue
            return TakenOver(other.relative_to(self.out).as_posix(), content.get("record", {}))
        return None


def _marks(out: Path) -> Iterator[Path]:
    yield from out.glob(f"*/shared/*/{DONE}")
    yield from out.glob(f"*/seed*/*/*/{DONE}")


def _content(mark: Path) -> dict[str, Any]:
    """Read a `stage.json`; empty where it is none."""
    try:
        content = read_json(mark)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _fill(folder: Path, other: Path) -> None:
    """Link and copy a stage's files; its marks, what is half written and links that lead nowhere stay behind."""
    links: list[Path] = []
    for inside, folders, files in os.walk(other):
        source, target = Path(inside), folder / Path(inside).relative_to(other)
        marks = (DONE, STARTED) if source == other else ()
        links += [source / name for name in (*folders, *files) if (source / name).is_symlink()]
        folders[:] = [name for name in folders if not name.endswith(PARTIAL) and source / name not in links]
        for name in folders:
            (target / name).mkdir()
        for name in files:
            if name not in marks and not name.endswith(PARTIAL) and source / name not in links:
                _take(source / name, target / name)
    for link in links:
        _link_again(link, folder, other)


def _take(source: Path, target: Path) -> None:
    if source.suffix in LINKED:
        try:
            os.link(source, target)
            return
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copy2(source, target)


def _link_again(link: Path, folder: Path, other: Path) -> None:
    """Make a symbolic link that leads to the same file; to the copy of what lies in the stage's own folder."""
    if not link.exists():
        return
    meant, place = link.resolve(), folder / link.relative_to(other)
    if meant.is_relative_to(other.resolve()):
        meant = Path(os.path.relpath(folder / meant.relative_to(other.resolve()), place.parent))
    place.symlink_to(meant)

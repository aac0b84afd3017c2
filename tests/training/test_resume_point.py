"""The resume point of a strategy that writes a folder by itself: killed at any moment, a whole one is found again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lit_mmembed.files import find_again
from lit_mmembed.training.callbacks.resume import ResumePoint
from tests.training.callbacks import Stopped

Tick = Callable[[], None]


def trainer(step: int, tick: Tick) -> Any:
    """A trainer whose strategy writes two files into a folder, in place as FSDP2's does."""

    def write(path: Path) -> None:
        path.mkdir(exist_ok=True)
        for name in ("weights", "counters"):
            tick()
            (path / name).write_text(str(step))

    strategy = SimpleNamespace(
        restore_checkpoint_after_setup=True,
        barrier=lambda name: None,
        save_checkpoint=lambda checkpoint, path: write(path),
    )
    return SimpleNamespace(
        strategy=strategy, save_checkpoint=write, is_global_zero=True, fast_dev_run=False, loggers=[], global_step=step
    )


def at_the_end(folder: Path, step: int, tick: Tick = lambda: None) -> None:
    ResumePoint(folder).on_train_end(trainer(step, tick), None)  # type: ignore[arg-type]


def on_the_way(folder: Path, step: int, tick: Tick = lambda: None) -> None:
    point = ResumePoint(folder)
    point._taken = {"callbacks": {point.state_key: {}}}
    point.on_train_batch_start(trainer(step, tick), None, None, 0)  # type: ignore[arg-type]


def kept(folder: Path) -> list[str]:
    return sorted(file.read_text() for file in (folder / "resume.ckpt").iterdir())


@pytest.mark.parametrize("save", [at_the_end, on_the_way])
def test_killed_at_any_moment_a_whole_point_is_found_again(tmp_path, monkeypatch, save):
    for moment in count():
        folder = tmp_path / f"{moment}"
        folder.mkdir()
        save(folder, 1)
        with monkeypatch.context() as patch:
            ticks = count()
            tick = ticking(ticks, moment)
            patch.setattr(Path, "rename", before(Path.rename, tick))
            patch.setattr(shutil, "rmtree", torn(shutil.rmtree, tick))
            with suppress(Stopped):
                save(folder, 2, tick)
        ended = next(ticks) <= moment
        find_again(folder / "resume.ckpt")
        assert kept(folder) in (["1", "1"], ["2", "2"])
        save(folder, 3)
        assert kept(folder) == ["3", "3"] and [file.name for file in folder.iterdir()] == ["resume.ckpt"]
        if ended:
            break
    assert moment == 5  # two files, two renames and the old one's removal


def ticking(ticks: count, moment: int) -> Tick:
    def tick() -> None:
        if next(ticks) == moment:
            raise Stopped

    return tick


def before(rename: Callable[..., Path], tick: Tick) -> Callable[..., Path]:
    def renamed(path: Path, to: Path) -> Path:
        tick()
        return rename(path, to)

    return renamed


def torn(rmtree: Callable[..., None], tick: Tick) -> Callable[..., None]:
    """Remove a folder's first file, and only then the rest."""

    def remove(path: Path) -> None:
        min(path.iterdir()).unlink()
        tick()
        rmtree(path)

    return remove


def test_a_point_that_the_user_removed_stays_away(tmp_path):
    at_the_end(tmp_path, 1)
    shutil.move(tmp_path / "resume.ckpt", tmp_path / "resume.ckpt.old.partial")
    find_again(tmp_path / "resume.ckpt")
    assert not (tmp_path / "resume.ckpt").exists()

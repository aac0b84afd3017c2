"""CIRR by its own protocol: each split's gallery, a subset of six pictures for each query.

Layout and protocol: https://github.com/Cuberick-Orion/CIRR. M-BEIR's row cirr_task7 is another benchmark (one pool of
21,551 pictures), so that this one's task has a name and a number of its own. Test has no answers; a server scores it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.instructions import format_text
from lit_mmembed.data.sources.composed import Asked, ComposedSource, composed_task, entries, field
from lit_mmembed.data.sources.pictures import Pictures, open_pictures
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import Task

DATASET_ID = 91
TASK = composed_task("CIRR-rc2", DATASET_ID, cutoff=5, domain="misc")
VERSION = "rc2"
FILES = {"train": "train", "val": "val", "test": "test1"}


class CirrSource(ComposedSource):
    """Reads captions/cap.rc2.*.json, image_splits/split.rc2.*.json and img_raw/ (a folder, zip or tar).

    `query_text`: `paper` is the caption as M-BEIR writes texts; `magiclens` is the caption as it stands.
    """

    name = "CIRR-rc2"
    tasks: tuple[Task, ...] = (TASK,)
    query_texts = ("paper", "magiclens")

    def licences(self) -> tuple[str, ...]:
        """Return the licences of the annotations and of the pictures."""
        return ("CIRR's annotations: MIT", "NLVR2's pictures: its terms of service")

    def did(self, name: str) -> str:
        """Return dataset number and the picture's name."""
        return f"{DATASET_ID}:{name}"

    @cached_property
    def pictures(self) -> Pictures:
        """All pictures of NLVR2 that are there."""
        return open_pictures([self.root / name for name in ("img_raw", "images")])

    def _annotations(self, split: str) -> tuple[Path, ...]:
        path = self.root / f"captions/cap.{VERSION}.{FILES[split]}.json"
        return (path,) if path.exists() else ()

    def _galleries(self, split: str) -> Mapping[str, Sequence[str]]:
        return {TASK.name: self._listed(split)}

    def _listed(self, split: str) -> tuple[str, ...]:
        path = self.root / f"image_splits/split.{VERSION}.{FILES[split]}.json"
        if path not in self._lists:
            listed = read_json(path)
            if not isinstance(listed, dict) or not listed:
                raise InputError("is no object of picture names", file=path, fix="fetch the annotations again")
            self._lists[path] = tuple(listed)
        return self._lists[path]

    @cached_property
    def _lists(self) -> dict[Path, tuple[str, ...]]:
        return {}

    def _queries(self, split: str) -> Iterator[Asked | BadSample]:
        (path,) = self._annotations(split)
        gallery = set(self._listed(split))
        for number, entry in entries(path, "pairid"):
            qid = f"{DATASET_ID}:{number}"
            try:
                yield self._asked(entry, (qid, number), path, gallery)
            except InputError as wrong:
                yield BadSample(f"queries/{split}", qid, InputError(wrong.problem, file=path, fix=wrong.fix))

    def _asked(self, entry: Mapping[str, Any], names: tuple[str, str], path: Path, gallery: set[str]) -> Asked:
        qid, number = names
        reference, caption = field(entry, "reference", str), field(entry, "caption", str)
        members = [name for name in field(field(entry, "img_set", dict), "members", list) if name != reference]
        for name in members:
            if name not in gallery:
                raise InputError(
                    f"its subset names picture {name}, which is not in the gallery", fix="check image_splits"
                )
        about: dict[str, Any] = {"number": number, "members": [self.did(name) for name in members]}
        positives: tuple[str, ...] = ()
        if entry.get("target_hard"):
            positives = (field(entry, "target_hard", str),)
            about["target"] = self.did(positives[0])
        if self.query_text == "paper":
            caption = format_text(caption)
        return Asked(qid, TASK.name, reference, caption, positives, about, path)

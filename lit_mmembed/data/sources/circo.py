"""CIRCO: 220 validation and 800 test queries over the 123,403 pictures of COCO's unlabelled set, several answers each.

Layout and protocol: https://github.com/miccunifi/CIRCO. Test has no answers; its server scores a submission file.
"""

from __future__ import annotations

import logging
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

DATASET_ID = 90
TASK = composed_task("CIRCO", DATASET_ID, cutoff=5, domain="misc")
DIGITS = 12
"""A picture's name is its number, with zeros in front."""
PUBLISHED = {"val": 220, "test": 800}
PUBLISHED_GALLERY = 123_403
log = logging.getLogger(__name__)


class CircoSource(ComposedSource):
    """Reads annotations/{val,test}.json and COCO2017_unlabeled/ (its folder unlabeled2017, or the zip or tar of it).

    The gallery is the list of image_info_unlabeled2017.json, or without it every picture that is there. `query_text`:
    `paper` is the relative caption as M-BEIR writes texts, below CIRR's instruction; `magiclens` is "find {shared
    concept} but {relative caption}".
    """

    name = "CIRCO"
    tasks: tuple[Task, ...] = (TASK,)
    query_texts = ("paper", "magiclens")

    def licences(self) -> tuple[str, ...]:
        """Return the licences of the annotations and of the pictures."""
        return ("CIRCO's annotations: CC BY-NC 4.0", "COCO's pictures: Flickr's terms of use")

    def did(self, name: str) -> str:
        """Return dataset number and COCO's number, without zeros in front."""
        return f"{DATASET_ID}:{int(name)}"

    @cached_property
    def pictures(self) -> Pictures:
        """All pictures of the unlabelled set."""
        folders = (self.root / "COCO2017_unlabeled", self.root)
        return open_pictures([folder / "unlabeled2017" for folder in folders])

    def _annotations(self, split: str) -> tuple[Path, ...]:
        path = self.root / f"annotations/{split}.json"
        return (path,) if split in PUBLISHED and path.exists() else ()

    def _galleries(self, split: str) -> Mapping[str, Sequence[str]]:
        return {TASK.name: self._listed}

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        for folder in (self.root / "COCO2017_unlabeled/annotations", self.root / "annotations"):
            path = folder / "image_info_unlabeled2017.json"
            if path.exists():
                numbers = _numbers(path)
                break
        else:
            numbers = [int(name) for name in self.pictures.names if name.isdecimal()]
        if len(numbers) != PUBLISHED_GALLERY:
            log.warning("%s: %d pictures, where CIRCO's gallery has %d", self.root, len(numbers), PUBLISHED_GALLERY)
        return tuple(_name(number) for number in sorted(set(numbers)))

    def _queries(self, split: str) -> Iterator[Asked | BadSample]:
        (path,) = self._annotations(split)
        count = 0
        for number, entry in entries(path, "id"):
            count += 1
            qid = f"{DATASET_ID}:{split}-{number}"
            try:
                yield self._asked(entry, (qid, number), path)
            except InputError as wrong:
                yield BadSample(f"queries/{split}", qid, InputError(wrong.problem, file=path, fix=wrong.fix))
        if count != PUBLISHED[split]:
            log.warning("%s: %d queries, where CIRCO has %d", path, count, PUBLISHED[split])

    def _asked(self, entry: Mapping[str, Any], names: tuple[str, str], path: Path) -> Asked:
        qid, number = names
        answers = [_name(image) for image in field(entry, "gt_img_ids", list)] if "gt_img_ids" in entry else []
        about: dict[str, Any] = {"number": number}
        if answers:
            about["target"] = self.did(_name(field(entry, "target_img_id", int)))
            about["aspects"] = entry.get("semantic_aspects") or []
            if about["target"] != self.did(answers[0]):
                raise InputError("target_img_id is not the first of gt_img_ids", fix="fetch the annotations again")
        reference = _name(field(entry, "reference_img_id", int))
        return Asked(qid, TASK.name, reference, self._text(entry), tuple(answers), about, path)

    def _text(self, entry: Mapping[str, Any]) -> str:
        caption: str = field(entry, "relative_caption", str)
        if self.query_text == "paper":
            return format_text(caption)
        return f"find {field(entry, 'shared_concept', str)} but {caption}"


def _name(number: Any) -> str:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InputError(f"{number!r} is no number of a picture", fix="fetch the annotations again")
    return f"{number:0{DIGITS}d}"


def _numbers(path: Path) -> list[int]:
    """The numbers of COCO's list."""
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise InputError("lists no images", file=path, fix="fetch COCO's image_info_unlabeled2017.zip again")
    try:
        return [int(image["id"]) for image in images]
    except (TypeError, KeyError, ValueError):
        raise InputError("an image has no id", file=path, fix="fetch it again") from None

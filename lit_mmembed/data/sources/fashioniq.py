"""FashionIQ by its own protocol: dresses, shirts and tops, each searched in its own gallery, two captions a query.

Layout: https://github.com/XiaoxiaoGuo/fashion-iq. M-BEIR's row fashioniq_task7 is another benchmark (one pool of 74,381
pictures of all categories), so that the tasks here have names and numbers of their own.
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

CATEGORIES = ("dress", "shirt", "toptee")
DATASET_ID = 92
"""Of dresses, and in front of every picture's id: some pictures are in two galleries. Shirts 93, tops 94."""
TASKS = {
    category: composed_task(f"FashionIQ-{category}", DATASET_ID + place, cutoff=10, domain="fashion")
    for place, category in enumerate(CATEGORIES)
}


class FashionIqSource(ComposedSource):
    """Reads captions/cap.CATEGORY.*.json, image_splits/split.CATEGORY.*.json and images/ (a folder, zip or tar).

    `query_text`, how two captions become one: `paper` as M-BEIR does (first letter small, full stop away, " and "
    between, then written as its texts are), `magiclens` (" and "), `e5v` (", " after ".?, " were stripped).
    """

    name = "FashionIQ"
    tasks: tuple[Task, ...] = tuple(TASKS.values())
    query_texts = ("paper", "magiclens", "e5v")

    def licences(self) -> tuple[str, ...]:
        """Return the licences of the annotations and of the pictures."""
        return ("FashionIQ's annotations: CDLA", "FashionIQ's pictures: their owners'")

    def did(self, name: str) -> str:
        """Return the first dataset number and the product's."""
        return f"{DATASET_ID}:{name}"

    @cached_property
    def pictures(self) -> Pictures:
        """All pictures that are there, whatever folders they lie in."""
        return open_pictures([self.root / name for name in ("images", "image_data", "resized_images")])

    def _annotations(self, split: str) -> tuple[Path, ...]:
        paths = tuple(self.root / f"captions/cap.{category}.{split}.json" for category in CATEGORIES)
        there = [path.exists() for path in paths]
        if any(there) and not all(there):
            missing = paths[there.index(False)]
            raise InputError("does not exist", file=missing, fix="fetch the captions of all three categories")
        return paths if all(there) else ()

    def _galleries(self, split: str) -> Mapping[str, Sequence[str]]:
        if split not in self._lists:
            self._lists[split] = {TASKS[category].name: self._listed(category, split) for category in CATEGORIES}
        return self._lists[split]

    @cached_property
    def _lists(self) -> dict[str, dict[str, tuple[str, ...]]]:
        return {}

    def _listed(self, category: str, split: str) -> tuple[str, ...]:
        path = self.root / f"image_splits/split.{category}.{split}.json"
        listed = read_json(path)
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise InputError("is no list of picture names", file=path, fix="fetch the annotations again")
        return tuple(dict.fromkeys(listed))

    def _queries(self, split: str) -> Iterator[Asked | BadSample]:
        for category, path in zip(CATEGORIES, self._annotations(split), strict=True):
            for number, entry in entries(path, None):
                qid = f"{TASKS[category].dataset_id}:{category}-{split}-{number}"
                try:
                    yield self._asked(entry, (qid, number), TASKS[category].name, path)
                except InputError as wrong:
                    yield BadSample(f"queries/{split}", qid, InputError(wrong.problem, file=path, fix=wrong.fix))

    def _asked(self, entry: Mapping[str, Any], names: tuple[str, str], task: str, path: Path) -> Asked:
        qid, number = names
        reference, captions = field(entry, "candidate", str), field(entry, "captions", list)
        if not all(isinstance(caption, str) for caption in captions):
            raise InputError("a caption is no string", fix="fetch the captions again")
        about: dict[str, Any] = {"number": number, "captions": captions}
        positives: tuple[str, ...] = ()
        if entry.get("target"):
            positives = (field(entry, "target", str),)
            about["target"] = self.did(positives[0])
        text = joined(captions, self.query_text)
        if not text:
            raise InputError("has no words in its captions", fix="correct or remove the query")
        return Asked(qid, task, reference, text, positives, about, path)


def joined(captions: Sequence[str], form: str) -> str:
    """Join the captions of a query.

    Args:
        captions: Two of them.
        form: `paper`: UniIR's preprocessing of M-BEIR; `magiclens`; `e5v`: E5-V's evaluation, without its second pass
            over the captions in the other order.
    """
    if form == "e5v":
        return ", ".join(caption.strip(".?, ") for caption in captions)
    if form == "magiclens":
        return " and ".join(captions)
    plain = [caption.strip().rstrip(".").strip() for caption in captions]
    return format_text(" and ".join(caption[:1].lower() + caption[1:] for caption in plain if caption))

"""Queries and documents as one looks at them: text, a picture of Pillow's, the task and its instruction."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

from lit_mmembed.data.images import EXTENSIONS, check_image
from lit_mmembed.types import Modality, Sample, Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from lit_mmembed.data.directory import DataDirectory


class Item(NamedTuple):
    """A query or a document."""

    id: str
    text: str | None
    image: Image | None
    modality: Modality


class Query(NamedTuple):
    """A query with what is asked of it."""

    item: Item
    task: Task
    instruction: str | None
    """The task's first wording; None where the data has no instructions or none was used."""
    positives: tuple[str, ...]
    """Ids of the documents that answer it."""


class Samples:
    """Reads the queries and documents of a split, one at a time."""

    def __init__(self, directory: DataDirectory, split: str, *, prompts: str = "first") -> None:
        self.directory = directory
        self.split = split
        self._prompts = prompts

    def query(self, qid: str) -> Query:
        """Read a query; InputError when the split has none of this id."""
        sample = self.directory.queries(self.split).by_id(qid)
        task = self.directory.task(str(sample.task))
        return Query(item_of(sample), task, self.instruction(task), sample.positives)

    def document(self, did: str) -> Item:
        """Read a document; InputError when the split has none of this id."""
        return item_of(self.directory.candidates(self.split).by_id(did))

    def instruction(self, task: Task) -> str | None:
        """The first wording of a task's instruction, if instructions are used."""
        from lit_mmembed.data.instructions import Instructions, PromptPolicy

        if self._prompts == PromptPolicy.NONE or self.directory.instructions_path is None:
            return None
        return Instructions.load(self.directory.instructions_path).wordings(task)[0]


def item_of(sample: Sample) -> Item:
    """Decode a sample's picture."""
    return Item(sample.id, sample.text, None if sample.image is None else picture(sample.image), sample.modality)


def picture(encoded: bytes) -> Image:
    """Decode an image file's bytes; InputError when it is none, is cut short or is too large."""
    from PIL import Image

    check_image(encoded)
    with Image.open(io.BytesIO(encoded), formats=tuple(EXTENSIONS)) as image:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")

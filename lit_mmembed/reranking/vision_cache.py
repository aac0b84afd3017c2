"""Vision features of images seen before: a document is a candidate of many queries, its image is embedded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SeenImage:
    """What is kept of an image."""

    vision: Tensor
    """[p, patches, Dv]: the vision tower's features of its tiles, before the projector."""
    tokens: int
    """Vectors that it becomes in the language model."""
    size: tuple[int, ...]
    """What the backbone needs of its shape."""

    @property
    def bytes(self) -> int:
        """Memory of the features."""
        return self.vision.numel() * self.vision.element_size()


class VisionCache:
    """Keeps the images that were used last, within a budget of bytes. Safe to read from a thread.

    Args:
        budget: Bytes of features at most; an image that does not fit alone is not kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.held = 0
        self.hits = 0
        self._images: OrderedDict[str, SeenImage] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> SeenImage | None:
        """Return an image, which is the last used from then on."""
        with self._lock:
            found = self._images.get(name)
            if found is not None:
                self._images.move_to_end(name)
                self.hits += 1
            return found

    def put(self, name: str, image: SeenImage) -> None:
        """Keep an image; those not used for longest go."""
        with self._lock:
            if name in self._images or image.bytes > self.budget:
                return
            self._images[name] = image
            self.held += image.bytes
            while self.held > self.budget:
                _, gone = self._images.popitem(last=False)
                self.held -= gone.bytes

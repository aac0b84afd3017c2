"""Thumbnails as data URIs, within a budget so that the page stays small."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field

from lit_mmembed.data.images import EXTENSIONS, check_image
from lit_mmembed.errors import InputError

AS_IT_IS = 4_096
"""A picture of at most so many bytes is shown as it is."""
LONGEST_SIDE = 144
"""Pixels of a thumbnail: the page shows it at half of that, sharp on dense screens."""
QUALITY = 78
BUDGET = 3_200_000
"""Bytes of all pictures together; base64 adds a third."""
KIND = {extension: name.lower() for name, extension in EXTENSIONS.items()}


@dataclass
class Pictures:
    """Makes thumbnails, counts their bytes, and stops when the budget is spent."""

    left: int = BUDGET
    left_out: int = 0
    """Pictures that the budget had no room for."""
    _known: dict[bytes, str] = field(default_factory=dict)

    def uri(self, encoded: bytes) -> str | None:
        """The picture as a data URI; None when it cannot be read or no longer fits."""
        try:
            extension = check_image(encoded)
            if encoded not in self._known:
                kind, small = (KIND[extension], encoded) if len(encoded) <= AS_IT_IS else ("webp", _thumbnail(encoded))
                self._known[encoded] = f"data:image/{kind};base64,{base64.b64encode(small).decode()}"
        except (InputError, OSError, SyntaxError, ValueError):  # what Pillow raises for damaged files
            return None
        uri = self._known[encoded]
        if len(uri) * 3 // 4 > self.left:
            self.left_out += 1
            return None
        self.left -= len(uri) * 3 // 4
        return uri


def _thumbnail(encoded: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(encoded), formats=tuple(EXTENSIONS)) as image:
        image.draft("RGB", (LONGEST_SIDE, LONGEST_SIDE))
        small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=QUALITY, method=4)
    return stream.getvalue()

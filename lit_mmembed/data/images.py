"""Looking at an encoded image without decoding it: its kind and its size, before it may cost memory.

Pillow refuses only far beyond 178 million pixels and torchvision.io never does; an image of a few kilobytes can claim
gigabytes (a decompression bomb).
"""

from __future__ import annotations

import io

from lit_mmembed.errors import InputError

MAX_PIXELS = 50_000_000
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
FIX = "repair or remove the image, or skip it with --on-bad-sample skip"


def check_image(encoded: bytes, *, record: str | None = None, max_pixels: int = MAX_PIXELS) -> str:
    """Return the extension of an encoded image ("jpg", "png", "webp") after looking at its header and its end.

    Raises:
        InputError: it is no JPEG, PNG or WebP, is cut short, or claims more than `max_pixels`.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=tuple(EXTENSIONS)) as image:
            kind, (width, height) = str(image.format), image.size
    except Image.DecompressionBombError as bomb:
        raise InputError(f"the image is too large: {bomb}", record=record, fix=FIX) from None
    except (OSError, SyntaxError, ValueError) as broken:
        problem = "is no JPEG, PNG or WebP" if "BytesIO" in str(broken) else str(broken)
        raise InputError(f"the image cannot be read: {problem}", record=record, fix=FIX) from None
    if width * height > max_pixels:
        raise InputError(f"the image has {width} x {height} pixels, more than {max_pixels:,}", record=record, fix=FIX)
    if not _is_whole(kind, encoded):
        raise InputError("the image is cut short", record=record, fix=FIX)
    return EXTENSIONS[kind]


def _is_whole(kind: str, encoded: bytes) -> bool:
    if kind == "JPEG":
        return encoded.rfind(b"\xff\xd9") > 0
    if kind == "PNG":
        return encoded.rfind(b"IEND") > 0
    return len(encoded) >= int.from_bytes(encoded[4:8], "little") + 8

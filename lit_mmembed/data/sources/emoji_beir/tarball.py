"""The image archive as M-BEIR ships it: one tar.gz cut into parts, the same bytes for the same images."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.drawings import Picture

PARTS = 2
NAME = "mbeir_images.tar.gz"


def write_image_parts(pictures: Iterable[Picture], folder: Path) -> None:
    """Write `mbeir_images.tar.gz.part-00` and `-01`: together a gzipped USTAR archive without times or owners."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for picture in pictures:
            member = tarfile.TarInfo(picture.path)
            member.size, member.mode = len(picture.webp), 0o644
            tar.addfile(member, io.BytesIO(picture.webp))
    content = packed.getvalue()
    cut = -(-len(content) // PARTS)
    for number in range(PARTS):
        (folder / f"{NAME}.part-{number:02d}").write_bytes(content[number * cut : (number + 1) * cut])

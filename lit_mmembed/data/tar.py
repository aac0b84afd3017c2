"""The bytes of a sample inside a WebDataset tar: deterministic USTAR members, and reading them back from a memory map.

A span is all that a sample occupies: per member a 512-byte header and the payload, padded to 512 bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from typing import Any

from lit_mmembed.types import Modality, Sample

BLOCK = 512
END = bytes(2 * BLOCK)
"""Two empty blocks end an archive."""
KEY_BYTES = 90
"""Longer keys do not fit a USTAR name beside their extension; a hash stands for them, the id is in the JSON."""

_decode = json.JSONDecoder().raw_decode  # a third of the time of json.loads, which first guesses the encoding
_MODALITY = {str(modality): modality for modality in Modality}
_UNSAFE = re.compile(rb"[^A-Za-z0-9_-]")


def key_of(sample_id: str) -> str:
    """Turn an id into a tar member's stem: characters outside [A-Za-z0-9_-] are written %XX."""
    key = _UNSAFE.sub(lambda match: b"%%%02X" % match.group()[0], sample_id.encode()).decode()
    if len(key) <= KEY_BYTES:
        return key
    return f"{key[:48]}-{hashlib.blake2b(sample_id.encode(), digest_size=16).hexdigest()}"


def sample_span(sample: Sample, extension: str | None) -> bytes:
    """Lay a sample out as tar members: KEY.json and, with an image, KEY.`extension`."""
    key = key_of(sample.id)
    members = [_member(f"{key}.json", _json_of(sample))]
    if sample.image is not None:
        members.append(_member(f"{key}.{extension}", sample.image))
    return b"".join(members)


def parse_span(span: bytes) -> Sample:
    """Read a sample back; the span's checksum has been verified, so that it is what was written."""
    start = BLOCK + int(span[124:135], 8)
    content, _ = _decode(span[BLOCK:start].decode())
    get = content.get
    image = None
    start = _padded(start)
    if start < len(span):
        image = span[start + BLOCK : start + BLOCK + int(span[start + 124 : start + 135], 8)]
    return Sample(
        content["id"],
        get("text"),
        image,
        _MODALITY[content["modality"]],
        get("task"),
        tuple(get("positives", ())),
        tuple(get("negatives", ())),
        get("source"),
    )


def json_end(header: bytes) -> int:
    """Return where in a span its JSON ends, by the first block of the span; 0 where that is damaged."""
    size = header[124:135]
    return BLOCK + int(size, 8) if re.fullmatch(rb"[0-7]+", size) else 0


def _json_of(sample: Sample) -> bytes:
    content: dict[str, Any] = {
        "id": sample.id,
        "text": sample.text,
        "modality": str(sample.modality),
        "task": sample.task,
        "positives": sample.positives,
        "negatives": sample.negatives,
        "source": sample.source,
    }
    kept = {name: value for name, value in content.items() if value}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def _member(name: str, payload: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(payload)
    header.mode = 0o644
    return header.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(_padded(len(payload)) - len(payload))


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK

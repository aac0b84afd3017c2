"""Streaming shards that are not on this machine (`https://`, `s3://`) through the webdataset library.

A stream has an approximate shuffle and no random access: use it to encode a pool, or copy the shards to train on them.
The samples' checksums lie in the index, which a stream does not have; a damaged member is an error here, not skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lit_mmembed.data.shards import INDEX_FILE
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample

IMAGE_EXTENSIONS = ("jpg", "png", "webp")
SCHEMES = ("https://", "http://", "s3://", "gs://", "file:")


def stream(urls: Sequence[str], *, shuffle: int = 0, seed: int = 0) -> Iterator[Sample]:
    """Yield the samples of shards in order, or through a shuffle buffer of `shuffle` samples.

    Args:
        urls: Shards, e.g. "https://host/candidates/test/000000.tar". A `pipe:` is refused, since it runs a
            shell; `s3://` goes through the `aws` command, its address quoted.
        shuffle: Size of the buffer; 0 keeps the order.
        seed: Seed of the shuffle.

    Raises:
        InputError: a URL of another kind, a shard that cannot be read, or a sample that is not ours.
    """
    import webdataset

    sources = [_source(url) for url in urls]
    pipeline = webdataset.WebDataset(
        sources, shardshuffle=False, handler=webdataset.reraise_exception, empty_check=False
    )
    if shuffle:
        pipeline = pipeline.shuffle(shuffle, seed=seed)
    try:
        for record in pipeline:
            yield _sample(record)
    except InputError:
        raise
    except Exception as broken:
        raise InputError(f"the stream broke: {broken}", file=", ".join(urls)[:200], fix="check the address") from broken


def _source(url: str) -> str:
    if url.startswith("s3://"):
        return f"pipe:aws s3 cp {_quoted(url)} -"
    if not url.startswith(SCHEMES):
        raise InputError(f"cannot stream {url!r}", fix=f"an address that begins with one of {SCHEMES}")
    return url


def _quoted(url: str) -> str:
    import shlex

    return shlex.quote(url)


def _sample(record: dict[str, Any]) -> Sample:
    try:
        content = json.loads(record["json"])
        image = next((record[extension] for extension in IMAGE_EXTENSIONS if extension in record), None)
        return Sample(
            id=content["id"],
            text=content.get("text"),
            image=image,
            modality=Modality(content["modality"]),
            task=content.get("task"),
            positives=tuple(content.get("positives", ())),
            negatives=tuple(content.get("negatives", ())),
            source=content.get("source"),
        )
    except (KeyError, ValueError) as wrong:
        key = str(record.get("__key__"))
        raise InputError(f"is not a shard of `mmembed shard`: {wrong}", record=key, fix=f"see {INDEX_FILE}") from None

"""What follows from a skipped sample: nothing may name what is not there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import ShardSetWriter
from lit_mmembed.types import Sample


class Rewritten(NamedTuple):
    """A part that was written again."""

    hash: str
    left_out: tuple[str, ...]
    """Ids of the queries that had no other positive."""


def without_documents(
    folder: Path, part: str, lost: frozenset[str], *, tasks: Sequence[str], shard_bytes: int
) -> Rewritten | None:
    """Write a part of queries again without some documents among their positives and negatives.

    Args:
        folder: The data directory in the making.
        part: "queries/train", ...
        lost: The documents. Queries that have no other positive are left out.
        tasks: Names of the tasks.
        shard_bytes: Size of a shard.

    Returns:
        None where no query names them.
    """
    reader = ShardReader(folder / part)
    if not any(_names(sample, lost) for sample in reader):
        return None
    again = folder / f"{part}.again"
    writer = ShardSetWriter(again, tasks=tasks, shard_bytes=shard_bytes)
    left_out = []
    for sample in reader:
        kept = _without(sample, lost) if _names(sample, lost) else sample
        if sample.positives and not kept.positives:
            left_out.append(sample.id)
        else:
            writer.add(kept)
    name = writer.finish()
    shutil.rmtree(folder / part)
    again.rename(folder / part)
    return Rewritten(name, tuple(left_out))


def _names(sample: Sample, lost: frozenset[str]) -> bool:
    return not lost.isdisjoint(sample.positives) or not lost.isdisjoint(sample.negatives)


def _without(sample: Sample, lost: frozenset[str]) -> Sample:
    positives = tuple(did for did in sample.positives if did not in lost)
    return replace(sample, positives=positives, negatives=tuple(did for did in sample.negatives if did not in lost))

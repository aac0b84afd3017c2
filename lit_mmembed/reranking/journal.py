"""What a reranking that is not finished has answered so far: lines behind each other, so that a killed run goes on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_mmembed.files import PARTIAL, content_hash

SECONDS_BETWEEN_SYNCS = 5.0


class Answered(NamedTuple):
    """What a model answered about one query's documents."""

    margins: np.ndarray
    """[documents] float32: the logit of "True" minus that of "False"."""
    fallback: np.ndarray
    """[documents] int8: 1 + the place in FALLBACKS; 0 where the document had what the question asks for."""
    cut: np.ndarray
    """[documents] bool: whether its text was cut."""


NOTHING = Answered(np.zeros(0, np.float32), np.zeros(0, np.int8), np.zeros(0, bool))
"""Of a query that is not asked about."""


class Journal:
    """Appends answers to OUT.partial, a line for each pass of the model: what was one pass stays one.

    Args:
        out: The ranking that is being made.
        identity: What makes it; a file of anything else is begun anew.
    """

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.path = out.with_name(out.name + PARTIAL)
        self.done: list[Answered] = []
        mark = content_hash(identity)
        whole = self._read(mark)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("r+b" if whole else "wb")
        self._stream.truncate(whole)
        self._stream.seek(whole)
        if not whole:
            self._line({"identity": mark})
        self._synced_at = time.monotonic()

    def append(self, answers: Sequence[Answered]) -> None:
        """Keep the answers about the next queries."""
        rows = [[one.margins.tolist(), one.fallback.tolist(), one.cut.tolist()] for one in answers]
        self._line({"answers": rows})
        self.done += answers
        if time.monotonic() - self._synced_at > SECONDS_BETWEEN_SYNCS:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._synced_at = time.monotonic()

    def close(self) -> None:
        """Leave what is there."""
        self._stream.close()

    def remove(self) -> None:
        """Remove it: the ranking is written."""
        self.close()
        self.path.unlink()

    def _line(self, content: dict[str, Any]) -> None:
        self._stream.write(json.dumps(content).encode() + b"\n")
        self._stream.flush()

    def _read(self, mark: str) -> int:
        """Take what whole lines say; return how many bytes they are, 0 where the file is of something else."""
        if not self.path.exists():
            return 0
        lines = self.path.read_bytes().split(b"\n")[:-1]  # what follows the last break is torn
        if not lines or json.loads(lines[0]) != {"identity": mark}:
            return 0
        for line in lines[1:]:
            for margins, fallback, cut in json.loads(line)["answers"]:
                arrays = np.array(margins, np.float32), np.array(fallback, np.int8), np.array(cut, bool)
                self.done.append(Answered(*arrays))
        return sum(len(line) + 1 for line in lines)

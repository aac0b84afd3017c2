"""`log.jsonl`: every logged number of a run, in a file that can be read back and that a resumed run goes on exactly."""

from __future__ import annotations

import csv
import json
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lit_mmembed.files import atomic_file


class JsonLinesLogger(Logger):
    """Appends one JSON object per logged step: {"step", "epoch", name: value, ...}.

    It stands first among the loggers, so that `config.yaml` lands in its folder. A checkpoint remembers the file's
    length (`callbacks.resume.ResumePoint`); resuming cuts the file back to it.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.folder = Path(folder)

    @property
    def path(self) -> Path:
        """The log file."""
        return self.folder / "log.jsonl"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def version(self) -> str:
        """Empty: a folder holds one run."""
        return ""

    @property
    def save_dir(self) -> str:
        """Where `config.yaml` goes."""
        return str(self.folder)

    @property
    def log_dir(self) -> str:
        """The same folder."""
        return str(self.folder)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` beside the log is the resolved configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line. A number that is not finite is written as null."""
        epoch = metrics.pop("epoch", None)
        values = {key: float(value) if math.isfinite(float(value)) else None for key, value in sorted(metrics.items())}
        row = {"step": step, "epoch": None if epoch is None else int(epoch), **values}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @rank_zero_only
    def cut_back(self, size: int) -> None:
        """Forget everything after the first `size` bytes: what was logged after the checkpoint."""
        if self.size() > size:
            with self.path.open("r+b") as stream:
                stream.truncate(size)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write `log.csv`, the same numbers as a table."""
        if self.path.exists():
            write_csv(self.path)


def write_csv(log: Path) -> None:
    """Turn `log.jsonl` into `log.csv` beside it: one column per name, empty where a step has none."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = ["step", "epoch", *sorted({key for row in rows for key in row} - {"step", "epoch"})]
    with atomic_file(log.with_suffix(".csv")) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

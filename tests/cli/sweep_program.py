"""A stand-in for `mmembed fit` in the tests of sweeps: it "trains" in steps, resumes, logs, and fails when told to.

Run as a script, its first argument chooses: `trial` is one fit; `sweep` is a whole `mmembed sweep` around such fits.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STEPS = 4


def trial(arguments: list[str]) -> None:
    """Take STEPS steps, each with a resume point and a line in `log.jsonl`."""
    flags = dict(argument[2:].partition("=")[::2] for argument in arguments if argument.startswith("--"))
    folder, x = Path(flags["folder"]), float(flags["x"])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starts.txt").open("a") as starts:
        starts.write(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')} {'ckpt_path' in flags}\n")
    point = folder / "resume.ckpt"
    done = int(point.read_text()) if "ckpt_path" in flags else 0
    if (folder / "log.jsonl").exists():  # a step may have been logged after the resume point
        kept = (folder / "log.jsonl").read_text().splitlines(keepends=True)[:done]
        (folder / "log.jsonl").write_text("".join(kept))
    for step in range(done, STEPS):
        time.sleep(float(os.environ.get("SECONDS_PER_STEP", "0")))
        if x < 0:
            sys.exit("step 0\nthe loss is not finite")
        with (folder / "log.jsonl").open("a") as log:
            log.write(json.dumps({"step": step, "epoch": 0, "val/score": x * (step + 1)}) + "\n")
        point.with_suffix(".new").write_text(str(step + 1))
        point.with_suffix(".new").replace(point)


def sweep(file: str, out: str, workers: str) -> None:
    """Run a sweep whose trials are this script."""
    from lit_mmembed.cli.sweep import runner

    runner.refuse_wrong_arguments = lambda *_: None
    runner.sweep(Path(file), out=Path(out), workers=int(workers), launcher=[sys.executable, __file__, "trial"])


if __name__ == "__main__":
    trial(sys.argv[2:]) if sys.argv[1] == "trial" else sweep(*sys.argv[2:])

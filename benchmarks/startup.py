"""CPU seconds (user and system) of `mmembed --help` and of every stage's help, beside a Python that does nothing.

The limit is `python -c pass`. For comparison, `fit`, whose options LightningCLI reads from the classes, and which must
therefore import torch and Lightning: what every stage would cost if the command imported them at its top.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

from benchmarks.measure import save
from lit_mmembed.cli.commands import STAGES

ROUNDS = 5
AT_MOST = 1.5


def cpu_seconds(arguments):
    """User and system seconds of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    commands = {"python -c pass": ["-c", "pass"], "mmembed --help": ["-m", "lit_mmembed", "--help"]}
    commands |= {f"mmembed {stage} --help": ["-m", "lit_mmembed", stage, "--help"] for stage in STAGES}
    compared = {"mmembed fit --help": ["-m", "lit_mmembed", "fit", "--help"]}
    for arguments in (commands | compared).values():
        cpu_seconds(arguments)  # byte code and page cache
    rounds = [{name: cpu_seconds(arguments) for name, arguments in commands.items()} for _ in range(ROUNDS)]
    rounds[0] |= {name: cpu_seconds(arguments) for name, arguments in compared.items()}
    figures = []
    for name in commands | compared:
        seconds = statistics.median(row[name] for row in rounds if name in row)
        figure = {"command": name, "cpu_seconds": round(seconds, 3)}
        if name.startswith("mmembed") and name in commands:
            figure |= {"target_below": AT_MOST, "reached": seconds < AT_MOST}
            figure |= {"times_bare_python": round(statistics.median(r[name] / r["python -c pass"] for r in rounds), 1)}
        figures.append(figure)
    save("startup", figures)


if __name__ == "__main__":
    main()

"""Interleaved timing: every contender once per round, medians of ratios within rounds. Absolute times mean little."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved(contenders, *, rounds=7, warmup=1, clock=time.perf_counter):
    """Return {name: [seconds per round]}; contenders is {name: function without arguments}.

    `clock=time.process_time` counts CPU seconds: right for one thread that never waits, and calm on a busy machine.
    """
    for _ in range(warmup):
        for run in contenders.values():
            run()
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return seconds


def ratio(seconds, over, under):
    """Median over rounds of seconds[over] / seconds[under]."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def machine():
    """What the figures were measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu}


def save(name, figures):
    """Write benchmarks/results/NAME.json and print it."""
    RESULTS.mkdir(exist_ok=True)
    content = {"machine": machine(), "figures": figures}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    for figure in figures:
        print("  ".join(f"{key}={value}" for key, value in figure.items()), flush=True)

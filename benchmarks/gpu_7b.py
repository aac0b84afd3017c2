"""LLaVA-E of 7 billion weights on one GPU: a training step of the paper's size, and what it stands on.

    python -m benchmarks.gpu_7b            on a GPU of 80 GB: about six minutes
    python -m benchmarks.gpu_7b --tiny     every part at toy size, on a CPU too

Weights are random, made on the GPU; nothing is downloaded. After every part the figures are written to $OUT (or
benchmarks/results/), so that a run that is cut short keeps what it has; a part that fails does not stop the next.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # chunks differ in size

import torch

from benchmarks.gpu import forwards, smaller, steps
from benchmarks.gpu.models import SHAPES, build
from benchmarks.measure import RESULTS, machine
from lit_mmembed.encoders.mllm import MllmEncoder

FULL = {
    "shape": "7b", "small": "small", "chunk": 8192, "budget": 32768, "free_gib": 5, "divide": 1,
    "sizes": [(12288, False), (8192, False), (6144, False), (16384, True), (4096, False)],
    "steps": [("in-batch", 1024, 0), ("one hard negative", 512, 1)], "seconds": 100,
    "equal": {"queries": 48, "chunk_tokens": 2000},
    "growth": {"batches": (256, 1024, 4096), "chunk_tokens": 16384},
    "peer": {"queries": 4096, "chunk_tokens": 16384, "rounds": 3, **SHAPES["small"][0]},
    "search": {"count": 500_000, "width": 4096, "queries": 512, "k": 50},
}  # fmt: skip
TINY = {
    "shape": "tiny", "small": "tiny", "chunk": 1000, "budget": 2000, "free_gib": 5, "divide": 32,
    "sizes": [(2000, False), (1500, True), (1000, False)],
    "steps": [("in-batch", 24, 0), ("one hard negative", 12, 1)], "seconds": 60,
    "equal": {"queries": 8, "chunk_tokens": 500},
    "growth": {"batches": (8, 32), "chunk_tokens": 1000},
    "peer": {"queries": 64, "chunk_tokens": 500, "rounds": 2, **SHAPES["tiny"][0]},
    "search": {"count": 40_000, "width": 64, "queries": 16, "k": 10},
}  # fmt: skip
"""`sizes`: (chunk_tokens, gradient checkpointing) to try. `seconds`: a step's batch is cut where it would take longer.
`free_gib`: what a step needs beside a chunk. `divide`: the numbers of documents to embed."""


class Report:
    """Runs parts, keeps their figures, writes them after each; starts none after `limit` seconds."""

    def __init__(self, path, limit, only):
        self.path, self.limit, self.only, self.figures, self.failed = path, limit, only, {}, {}
        self.start = time.perf_counter()

    def part(self, name, function, *arguments, **options):
        """Run a part; return its figures, or None where it failed."""
        if self.only and name not in ("model", "merging") and not name.startswith(tuple(self.only)):
            return None
        start = time.perf_counter()
        print(f"== {name} (at {start - self.start:.0f} s)", flush=True)
        found = None
        try:
            if start - self.start > self.limit:
                raise TimeoutError(f"not started after {self.limit} s")
            found = function(*arguments, **options)
            found = list(found) if not isinstance(found, (dict, list)) else found
            self.figures[name] = found
            for figure in found if isinstance(found, list) else [found]:
                print("  ".join(f"{key}={value}" for key, value in figure.items()), flush=True)
        except Exception:
            self.failed[name] = traceback.format_exc().strip().splitlines()[-9:]
            print("\n".join(["FAILED", *self.failed[name]]), flush=True)
        self.figures.setdefault("seconds", {})[name] = round(time.perf_counter() - start, 1)
        self.write()
        steps.clean()
        return found

    def write(self):
        content = {"machine": machine(), "torch": torch.__version__, "figures": self.figures, "failed": self.failed}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(content, indent=2, default=str) + "\n")


def large_model(report, folder, size, device):
    """The parts that need the whole model; it is freed at the end."""
    made = {}

    def make():
        start = time.perf_counter()
        made["encoder"] = build(folder, size["shape"], device, dtype="bfloat16")
        steps.synchronize()
        return {"seconds": round(time.perf_counter() - start, 1), "gib": steps.peak_gib()}

    report.part("model", make)
    if "encoder" not in made:
        return
    encoder: MllmEncoder = made["encoder"]
    chunk = size["chunk"]
    sizes = report.part("chunk sizes", steps.chunk_sizes, encoder, folder, device, size["sizes"])
    for name, queries, negatives in size["steps"] if sizes else ():
        report.part(
            f"step, {name}", steps.whole_step, encoder, folder, device, name, queries=queries, negatives=negatives,
            chosen=steps.best_size(sizes, size["free_gib"]), at_most_seconds=size["seconds"],
        )  # fmt: skip
    report.part("kernels", forwards.kernels, encoder, device, tokens=chunk // 2)
    report.part("attention", forwards.attention_ways, encoder, device, tokens=2 * chunk)
    report.part("attention with backward", forwards.with_backward, encoder, device, tokens=chunk // 2)
    speed = functools.partial(
        forwards.embedding_speed, encoder, folder, device, budget=size["budget"],
        counts={kind: count // size["divide"] for kind, count in forwards.COUNTS.items()},
    )  # fmt: skip
    report.part("embedding, with adapters", speed, label="with adapters")
    report.part("merging", lambda: encoder.merge() or {})
    report.part("embedding, merged", speed, label="merged")


def table(figures):
    """The few lines that say how it went."""
    wanted = {
        "flash parity": ("least_cosine",), "gradients": ("dropout", "difference"),
        "step": ("queries", "documents", "tokens", "chunk", "seconds", "peak_gib", "mfu", "hfu", "phase_seconds"),
        "chunk sizes": ("chunk", "checkpointing", "tokens_per_second", "peak", "out"),
        "attention": ("forward", "least"), "embedding": ("modality", "documents_per", "mfu", "peak"),
        "memory": ("images", "queries", "times"), "sentence-transformers": ("times", "gradients", "peak"),
        "search": ("times", "seconds"),
    }  # fmt: skip
    for name, found in figures.items():
        prefixes = next((keys for start, keys in wanted.items() if name.startswith(start)), ())
        for row in (found if isinstance(found, list) else [found]) if prefixes else ():
            yield name, {key: value for key, value in row.items() if key.startswith(prefixes)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on a CPU where there is no GPU")
    parser.add_argument("--limit", type=float, default=420, help="start no part after so many seconds")
    parser.add_argument("--only", nargs="*", default=[], help="parts whose names begin so; all by default")
    parser.add_argument("--seconds", type=float, help="cut a step's batch where it would take longer")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    size = {**(TINY if arguments.tiny else FULL)}
    size["seconds"] = arguments.seconds or size["seconds"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = "gpu_7b_tiny.json" if arguments.tiny else "gpu_7b.json"
    report = Report(Path(os.environ.get("OUT", RESULTS)) / name, arguments.limit, arguments.only)
    if device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place), size["small"]
        report.part("flash parity", forwards.flash_parity, folder / "small", small, device)
        report.part("gradients", smaller.equal_gradients, folder / "small", small, device, **size["equal"])
        large_model(report, folder / "large", size, device)
        gc.collect()
        report.part("memory", smaller.memory_growth, folder / "small", small, device, **size["growth"])
        report.part("sentence-transformers", smaller.beside_sentence_transformers, device, **size["peer"])
        report.part("search", smaller.exact_search, device, **size["search"])
    print(json.dumps(machine()))
    for name, row in table(report.figures):
        print(f"{name:24}", "  ".join(f"{key}={value}" for key, value in row.items()))
    print(f"failed: {list(report.failed) or 'nothing'}; {time.perf_counter() - report.start:.0f} s")


if __name__ == "__main__":
    main()

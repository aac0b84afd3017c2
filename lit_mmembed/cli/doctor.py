"""`mmembed doctor`: what of this machine the stages will use, and what would fail, with the fix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import NamedTuple

GIB = 1 << 30
MALICIOUS_LIGHTNING = ("2.6.2", "2.6.3")


class Finding(NamedTuple):
    """One line of the examination."""

    what: str
    state: str
    """"ok", "note" or "problem"."""
    about: str


def doctor() -> int:
    """Print every finding; return the number of problems."""
    findings = [finding for check in CHECKS for finding in check()]
    marks = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}
    for finding in findings:
        print(f"{marks[finding.state]}  {finding.what:<12} {finding.about}")
    return sum(finding.state == "problem" for finding in findings)


def _packages() -> Iterator[Finding]:
    for name in ("torch", "lightning", "transformers", "open_clip_torch", "webdataset", "wandb", "jsonargparse"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "problem", "is not installed (fix: pip install -r requirements.txt -c constraints.txt)")
            continue
        if name == "lightning" and version in MALICIOUS_LIGHTNING:
            yield Finding(name, "problem", f"{version} was a malicious release (fix: pip install 'lightning>=2.6.5')")
        else:
            yield Finding(name, "ok", version)


def _devices() -> Iterator[Finding]:
    import torch

    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    yield Finding("cpu", "ok", threads)
    if not torch.cuda.is_available():
        yield Finding("cuda", "note", "none: everything runs on the CPU, in fp32")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16 (fix: --trainer.precision=16-mixed)"
        yield Finding(f"cuda:{index}", "ok", f"{device.name}, {device.total_memory / GIB:.0f} GiB, {bf16}")


def _faiss() -> Iterator[Finding]:
    installed = [name for name in ("faiss-gpu", "faiss-cpu", "faiss-gpu-cuvs") if _is_installed(name)]
    if len(installed) > 1:
        yield Finding("faiss", "problem", f"{installed} overwrite each other (fix: uninstall all, install one)")
        return
    try:
        import faiss
        import torch
    except ImportError as broken:
        yield Finding("faiss", "problem", f"{broken} (fix: pip install -r requirements.txt, or use --index exact)")
        return
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    unseen = torch.cuda.is_available() and gpus == 0
    about = f"{faiss.__version__}, {gpus} GPUs"
    yield Finding(
        "faiss", "note" if unseen else "ok", about + (" (torch sees one; exact search uses it)" if unseen else "")
    )


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / GIB
    state = "note" if free < 20 else "ok"
    yield Finding(
        "disk", state, f"{free:.0f} GiB free here (M-BEIR: 170 GB of images; its pool in fp16 at d = 4096: 46 GB)"
    )


def _wandb() -> Iterator[Finding]:
    mode = os.environ.get("WANDB_MODE", "online unless the logger says offline")
    yield Finding("wandb mode", "ok", mode)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (_packages, _devices, _faiss, _disk, _wandb)

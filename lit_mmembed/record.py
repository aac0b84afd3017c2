"""The run record: what produced a result, written beside it. It holds no time and no machine's path, so that the same
inputs give the same bytes."""

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lit_mmembed import __version__

PACKAGES = ("torch", "lightning", "transformers", "peft", "open_clip_torch", "webdataset", "numpy", "pillow", "pyarrow")


def run_record(**what: Any) -> dict[str, Any]:
    """Collect versions and commit, plus whatever the caller names (config, seed, data hash, prompt policy, weights)."""
    return {**what, "versions": dict(package_versions()), "commit": commit()}


@cache
def package_versions() -> tuple[tuple[str, str], ...]:
    """Versions of this package and of those that can change a number."""
    return (("lit_mmembed", __version__), *((name, _version(name)) for name in PACKAGES))


@cache
def commit() -> str | None:
    """The git commit of the checkout that the package runs from, "+changes" if it differs; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    head = _git(folder, "rev-parse", "HEAD")
    if head is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", str(folder))
    return f"{head}+changes" if changed else head


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()

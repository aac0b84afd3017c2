"""Is the installed mteb one whose protocols we implement? Asked before anything is loaded or embedded."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from lit_mmembed.errors import InputError

VERSIONS = ">=2.20,<3"
"""As requirements-mteb.txt says."""
FIX = 'pip install "lit-mmembed[mteb]"'
ENCODE = ("inputs", "task_metadata", "hf_split", "hf_subset", "prompt_type")
INDEX = ("corpus", "task_metadata", "hf_split", "hf_subset", "encode_kwargs", "num_proc")
SEARCH = ("queries", "task_metadata", "hf_split", "hf_subset", "top_k", "encode_kwargs", "top_ranked", "num_proc")
EVALUATE = ("model", "tasks", "encode_kwargs", "cache", "overwrite_strategy", "co2_tracker", "num_proc")


def load_mteb(cache: str | Path) -> Any:
    """Import mteb and check its version and its protocols.

    Args:
        cache: mteb's own folder where MTEB_CACHE names none; importing mteb makes ~/.cache/mteb otherwise.

    Raises:
        InputError: mteb is not installed, is of another major version, or its protocols ask for something else.
    """
    try:
        version = metadata.version("mteb")
    except metadata.PackageNotFoundError:
        raise InputError("mteb is not installed", fix=FIX) from None
    if version not in SpecifierSet(VERSIONS, prereleases=True):
        raise InputError(f"mteb {version} has another protocol than {VERSIONS}", fix=FIX)
    os.environ.setdefault("MTEB_CACHE", str(Path(cache).resolve()))
    try:
        library = importlib.import_module("mteb")
        protocols = importlib.import_module("mteb.models.models_protocols")
        importlib.import_module("mteb.abstasks.retrieval")
        importlib.import_module("mteb.abstasks.aggregated_task")
    except ImportError as missing:
        raise InputError(f"mteb {version} cannot be imported: {missing}", fix=FIX) from None
    asked = (
        ("EncoderProtocol.encode", _method(protocols, "EncoderProtocol", "encode"), ENCODE),
        ("SearchProtocol.index", _method(protocols, "SearchProtocol", "index"), INDEX),
        ("SearchProtocol.search", _method(protocols, "SearchProtocol", "search"), SEARCH),
        ("evaluate", getattr(library, "evaluate", None), EVALUATE),
    )
    for name, method, parameters in asked:
        _check(version, name, method, parameters)
    return library


def _method(module: Any, protocol: str, name: str) -> Callable[..., Any] | None:
    return getattr(getattr(module, protocol, None), name, None)


def _check(version: str, name: str, method: Callable[..., Any] | None, parameters: Iterable[str]) -> None:
    known = inspect.signature(method).parameters if callable(method) else {}
    missing = [parameter for parameter in parameters if parameter not in known]
    if missing:
        raise InputError(f"mteb {version}'s {name} has no {', '.join(missing)}: another protocol than ours", fix=FIX)
    ours = {"self", "kwargs", *parameters}
    required = [p.name for p in known.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    if name != "evaluate" and (stray := [parameter for parameter in required if parameter not in ours]):
        raise InputError(f"mteb {version}'s {name} passes {', '.join(stray)}: another protocol than ours", fix=FIX)

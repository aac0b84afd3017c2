"""Universal multimodal retrieval with multimodal LLMs, on PyTorch Lightning.

Importing the package loads nothing heavy: every module imports what it needs itself, `Retriever` and `Results` only
when they are named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_mmembed.results import Results as Results
    from lit_mmembed.retriever import Retriever as Retriever

__version__ = "0.1.0"

LAZY = {"Retriever": "lit_mmembed.retriever", "Results": "lit_mmembed.results"}


def __getattr__(name: str) -> Any:
    """Return `Retriever` or `Results`, importing what they need only now."""
    if name in LAZY:
        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

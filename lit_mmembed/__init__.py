"""Universal multimodal retrieval with multimodal LLMs, on PyTorch Lightning.

Importing the package loads nothing heavy: every module imports what it needs itself, and `Retriever` when it is named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lit_mmembed.retriever import Retriever as Retriever

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `Retriever`, importing torch only now."""
    if name == "Retriever":
        return import_module("lit_mmembed.retriever").Retriever
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

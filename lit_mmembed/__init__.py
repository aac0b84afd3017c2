"""Universal multimodal retrieval with multimodal LLMs, on PyTorch Lightning.

Importing the package loads nothing heavy: every module imports what it needs itself.
"""

__version__ = "0.1.0"

"""Retrieval tasks of the library mteb, driven through its own encoder and search protocols: docs/mteb.md."""

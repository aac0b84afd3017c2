"""Retrieval metrics, pure functions on arrays."""

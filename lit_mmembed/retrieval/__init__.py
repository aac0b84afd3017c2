"""Embedding stores, indexes and search."""

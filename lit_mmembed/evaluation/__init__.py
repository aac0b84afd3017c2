"""Benchmark protocols and reports."""

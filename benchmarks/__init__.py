"""Measures moyai against other programs; `python -m benchmarks`."""

"""Damaged input in every container; see `benchmarks.robustness.__main__`."""

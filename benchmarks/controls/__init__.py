"""Architectures of trackers side by side, trained on equal data: ``python -m benchmarks.controls``."""

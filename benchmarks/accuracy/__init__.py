"""Trackers side by side on simulated cines that training never draws from: ``python -m benchmarks.accuracy``."""

"""Calibration of `tagstrain.quality` on simulated cines, sound and spoiled: ``python -m benchmarks.quality``."""

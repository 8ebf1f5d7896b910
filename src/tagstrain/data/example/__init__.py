"""The example study that ships with the package: simulated tagged MRI of three slices, as zipped DICOM."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def example_study_path() -> Path:
    """Path of the zip file."""
    return Path(str(files(__name__) / "example_study.zip"))

"""Tagged cardiac MRI in, myocardial strain out. Research software: not for diagnostic use."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("tagstrain")

if TYPE_CHECKING:
    from tagstrain.inference.analyze import analyze
    from tagstrain.io import read_study

__all__ = ["__version__", "analyze", "read_study"]

_LAZY = {"analyze": "tagstrain.inference.analyze", "read_study": "tagstrain.io"}


def __getattr__(name: str) -> Any:
    """Load the heavy parts (torch, readers) only when they are used."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tagstrain' has no attribute {name!r}")

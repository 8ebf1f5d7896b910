"""Libraries kept quiet while they read: what they say of a damaged file can quote it, and a patient with it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silenced(logger: logging.Logger) -> Iterator[None]:
    """Keep what a library logs and warns of to itself."""
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

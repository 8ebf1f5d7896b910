"""How commands speak: errors and warnings on stderr, one unwrapped line each so that scripts can search them."""

from __future__ import annotations

import sys


def print_error(message: str) -> None:
    """Print an error."""
    print(f"Error: {message}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Print what a reader of the numbers should know."""
    print(f"Warning: {message}", file=sys.stderr)

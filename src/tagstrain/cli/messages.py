"""How commands speak: errors on stderr, one unwrapped line each so that scripts can search them."""

from __future__ import annotations

import sys


def print_error(message: str) -> None:
    """Print an error."""
    print(f"Error: {message}", file=sys.stderr)

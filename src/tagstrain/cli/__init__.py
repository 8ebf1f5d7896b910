"""The command line: parses, calls the package, prints."""

from tagstrain.cli.main import main

__all__ = ["main"]

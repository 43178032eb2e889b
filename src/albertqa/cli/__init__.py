"""The command line."""

from albertqa.cli.app import main, parse

__all__ = ["main", "parse"]

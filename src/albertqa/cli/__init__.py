"""The command line."""

from albertqa.cli.commands import main, parse

__all__ = ["main", "parse"]

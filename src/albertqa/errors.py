"""What can go wrong, in words for the person who sees it.

Every error a user can cause is an `AlbertQAError`: one line that says where, what was expected, what was found and
what to do. The command line prints it on stderr and exits with code 2; nothing else is caught there. Each class names
the page of the documentation that helps on.
"""

import difflib
from collections.abc import Iterable
from typing import ClassVar


def printable(text: str) -> str:
    r"""Return a text that is safe to print: what a terminal could act on, or could not encode, is escaped.

    Args:
        text: Anything that came from a file: a name, an id, an answer.

    >>> printable("caf\u00e9 \x1b[31m \ud800")
    'caf\u00e9 \\x1b[31m \\ud800'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'NAME'?" with the known name nearest to a word; empty where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


class AlbertQAError(Exception):
    """A problem the user can act on; the message is one complete line.

    Attributes:
        page: The page of the documentation that helps on, from the site's root.
    """

    page: ClassVar[str] = "reference/errors"

    def __str__(self) -> str:
        return printable(super().__str__())


class DataError(AlbertQAError):
    """A data file or row is not what its format says."""

    page = "guides/own-data"


class SettingsError(AlbertQAError):
    """A setting is unknown, out of range, or contradicts another."""

    page = "reference/settings"


class ModelError(AlbertQAError):
    """A model folder cannot be used: missing, incomplete, or not a question-answering encoder."""

    page = "guides/languages"


class TokenizerError(ModelError):
    """A tokenizer cannot be found, or does not tokenize as its model was trained."""


class RunError(AlbertQAError):
    """A run directory cannot be started, resumed or read."""

    page = "guides/a-run-goes-wrong"

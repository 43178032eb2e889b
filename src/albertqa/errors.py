"""What can go wrong, in words for the person who sees it.

Every error a user can cause is an `AlbertQAError`: one line that says where, what was expected, what was found and
what to do. The command line prints it on stderr and exits with code 2; nothing else is caught there.
"""


class AlbertQAError(Exception):
    """A problem the user can act on; the message is one complete line."""


class DataError(AlbertQAError):
    """A data file or row is not what its format says."""


class SettingsError(AlbertQAError):
    """A setting is unknown, out of range, or contradicts another."""


class ModelError(AlbertQAError):
    """A model folder cannot be used: missing, incomplete, or not a question-answering encoder."""


class TokenizerError(ModelError):
    """A tokenizer cannot be found, or does not tokenize as its model was trained."""


class RunError(AlbertQAError):
    """A run directory cannot be started, resumed or read."""

"""Requests that get no answer: an HTTP status and one sentence."""

from albertqa.errors import AlbertQAError

CLIENT_LEFT = 499
"""The status, in log and metrics, of a request whose client did not wait."""


class RequestRefusedError(AlbertQAError):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: One sentence: field, expected, found.
        retry_after: Seconds after which to try again; None: the same request will not do better.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

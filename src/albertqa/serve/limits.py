"""The settings of a server: where it listens and what it accepts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from albertqa.config import Config, flag

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class ServeConfig(Config):
    """Where a server listens, and what it accepts."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0: every interface of this machine."""
    port: int = 8000
    """Port to listen on; 0: any free one."""
    api_key: Annotated[str | None, flag()] = None
    """Key that every request for an answer must carry (`Authorization: Bearer KEY`); unset: none."""
    max_body_bytes: int = 1_048_576
    """Longest request body, in bytes; a page of text has about 3,000."""
    max_questions: int = 64
    """Most questions of one request."""
    max_documents: int = 64
    """Most documents of one request."""
    max_queue_tokens: int = 131_072
    """Most tokens waiting and being read; a request that needs more is refused, and one that finds no room, too."""
    max_batch_tokens: int = 4096
    """Most tokens of one forward pass, over requests; changes speed and memory, not answers."""
    deadline_seconds: float = 60.0
    """Longest time that a request may take."""
    drain_seconds: float = 1.0
    """On SIGTERM: time during which the server says that it is not ready and still accepts questions."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        yield from self._out_of_range("port", "from 0 to 65535", low=0, below=65536)
        yield from self._out_of_range(
            "max_body_bytes max_questions max_documents max_queue_tokens max_batch_tokens", "at least 1", low=1
        )
        yield from self._out_of_range("drain_seconds", "0 or more", low=0)
        yield from self._not_positive("deadline_seconds")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            yield "api_key is empty or has characters that a header cannot hold, expected printable ASCII"
        yield from super().problems()

"""The settings of a server: where it listens and what it accepts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from albertqa.config import AT_LEAST_0, AT_LEAST_1, POSITIVE, Bounds, Config, flag

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class ServeConfig(Config):
    """Where a server listens, and what it accepts."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0: every interface of this machine."""
    port: Annotated[int, Bounds("from 0 to 65535", 0, 65536)] = 8000
    """Port to listen on; 0: any free one."""
    api_key: Annotated[str | None, flag()] = None
    """Key that every request for an answer must carry (`Authorization: Bearer KEY`); unset: none."""
    max_body_bytes: Annotated[int, AT_LEAST_1] = 1_048_576
    """Longest request body, in bytes; a page of text has about 3,000."""
    max_questions: Annotated[int, AT_LEAST_1] = 64
    """Most questions of one request."""
    max_documents: Annotated[int, AT_LEAST_1] = 64
    """Most documents of one request."""
    max_queue_tokens: Annotated[int, AT_LEAST_1] = 131_072
    """Most tokens waiting and being read; a request that needs more is refused, and one that finds no room, too."""
    max_batch_tokens: Annotated[int, AT_LEAST_1] = 4096
    """Most tokens of one forward pass, over requests; changes speed and memory, not answers."""
    deadline_seconds: Annotated[float, POSITIVE] = 60.0
    """Longest time that a request may take."""
    drain_seconds: Annotated[float, AT_LEAST_0] = 1.0
    """On SIGTERM: time during which the server says that it is not ready and still accepts questions."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def problems(self) -> Iterator[str]:
        """Yield what is out of range."""
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable() and self.api_key):
            yield "api_key is empty or has characters that a header cannot hold, expected printable ASCII"
        yield from super().problems()

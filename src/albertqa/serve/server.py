"""Run a server until it is told to stop."""

import logging
import math
import re
import signal
import socket
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from albertqa.errors import SettingsError
from albertqa.serve.app import build_app
from albertqa.serve.guard import LOGGER
from albertqa.serve.limits import ServeConfig
from albertqa.serve.service import Service

if TYPE_CHECKING:
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.collection import Collection

_MAX_CONNECTIONS = 2048
_WARM_UP = ("Which words are read here?", "These words are read once before anybody asks. " * 8)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def serve(
    load: "Callable[[], Answerer]", name: str, config: ServeConfig, documents: "Collection | None" = None
) -> None:
    """Answer questions over HTTP until SIGTERM or Ctrl-C.

    On SIGTERM the server first says that it is not ready, and after `drain_seconds` takes no more connections; what it
    has accepted is answered before it ends.

    Args:
        load: Returns the model.
        name: What to call it.
        config: Where to listen, and limits.
        documents: Indexed documents to pick from.

    Raises:
        SettingsError: A setting is out of range, or the address cannot be used.
    """
    config.check()
    # In a thread that ends: every thread that computes keeps threads of its own for it, and where there are more of
    # them than cores, none waits busily for the next product, and reading takes longer.
    with ThreadPoolExecutor(1) as starting:
        answers = starting.submit(load).result()
        listener = listen(config)
        speed = starting.submit(measure_speed, answers).result()
    service = Service(answers, name, config, speed, documents)
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    if config.api_key is None and not config.is_local:
        LOGGER.warning("everybody who reaches this address may ask; set an API key to change that")
    server = _Server(
        uvicorn.Config(
            build_app(service),
            http="h11",
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=int(config.deadline_seconds) + 5,
        ),
        service,
        f"{name} answers at {address}",
    )
    server.run(sockets=[listener])


def measure_speed(answers: "Answerer") -> float:
    """Read something twice, and return the tokens a second of the second time."""
    pairs = [_WARM_UP] * 4
    answers.answer_batch(pairs, n_best=1, batch_size=32, progress=None)
    begun = time.monotonic()
    answers.answer_batch(pairs, n_best=1, batch_size=32, progress=None)
    return answers.num_tokens(pairs) / (time.monotonic() - begun)


def listen(config: ServeConfig) -> socket.socket:
    """Return a socket that listens.

    Raises:
        SettingsError: It cannot listen there.
    """
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((config.host, config.port), family=family, backlog=_MAX_CONNECTIONS)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise SettingsError(
            f"{config.host}:{config.port}: cannot listen there ({reason}). Choose another --host or --port"
        ) from error
    # Connections inherit it. Else the end of an answer waits for the client to acknowledge its beginning: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """A server that reports that it is not ready before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, greeting: str) -> None:
        super().__init__(config)
        self.service = service
        self.greeting = greeting
        self.stop_at = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so: from here on a signal stops it in order."""
        await super().startup(sockets)
        LOGGER.info("%s", self.greeting)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop: SIGTERM after the time to drain, Ctrl-C now, a second signal without waiting for answers."""
        del frame
        self.force_exit = self.stop_at < math.inf
        self.service.is_ready = False
        seconds = self.service.config.drain_seconds if sig == signal.SIGTERM else 0.0
        self.stop_at = min(self.stop_at, time.monotonic() + seconds)

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to stop."""
        return await super().on_tick(counter) or time.monotonic() >= self.stop_at


class _SafeFormatter(logging.Formatter):
    """Writes no control characters, and an exception's type and place without its message, which may quote a user."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 -- the base class has it so
        return f"{''.join(traceback.format_tb(ei[2]))}{ei[0].__name__}"

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub(lambda one: f"\\x{ord(one[0]):02x}", super().format(record))


def log_safely() -> None:
    """Write the server's log to stderr, without control characters and without users' texts."""
    handler = logging.StreamHandler()
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("albertqa.serve", logging.INFO), ("uvicorn", logging.WARNING), ("fastapi", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)

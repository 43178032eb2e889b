"""What every request passes first: whose name was called, key, room; and what is counted, logged and added to it."""

import logging
import math
import time

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from albertqa.serve.error_responses import refusal_response
from albertqa.serve.limits import LOOPBACK
from albertqa.serve.refusal import RequestRefusedError
from albertqa.serve.service import Service

LOGGER = logging.getLogger("albertqa.serve")

ANSWERING = ("/answer", "/", "/v1/answer")
"""The addresses that answer questions: in the form of a task, under its own name and the server's, and of documents."""

_BUSY = 429
_BYTES_OF_A_TOKEN = 6
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """The outermost layer: whose name was called, key, room, headers, metrics, one log line a request; no user text.

    What a busy server does not answer must cost it little: it is refused here, before its body is read, and shares a
    log line with others.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.hosts = LOOPBACK if service.config.is_local else None
        self.num_refused, self.logged_at = 0, -math.inf

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status, known = time.monotonic(), 500, "unknown"

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = dict(message["headers"])
                own = {name.encode(): value.encode() for name, value in _HEADERS.items()}
                message = {**message, "headers": list({**own, **headers}.items())}
            await send(message)

        try:
            self._require_own_host(scope)
            if scope["method"] == "POST" and scope["path"] in ANSWERING:
                known = scope["path"]
                self._admit(Request(scope))
            await self.app(scope, receive, send_with_headers)
        except RequestRefusedError as error:
            await refusal_response(error)(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", known)
            seconds = time.monotonic() - begun
            self.service.metrics.on_request(route, status, seconds)
            if status == _BUSY:
                self._log_refused()
            else:
                LOGGER.info("%s %s %d %.0f ms", scope["method"], route, status, seconds * 1000)

    def _log_refused(self) -> None:
        self.num_refused += 1
        if (now := time.monotonic()) >= self.logged_at + 1.0:
            LOGGER.warning("busy; requests refused since the last such line: %d", self.num_refused)
            self.num_refused, self.logged_at = 0, now

    def _require_own_host(self, scope: Scope) -> None:
        """Check that no page from elsewhere asks, whose name was made to point at this machine.

        Raises:
            RequestRefusedError: Another host was called.
        """
        if self.hosts is not None and _host_name(scope) not in self.hosts:
            raise RequestRefusedError(421, "Host: expected this machine's own name")

    def _admit(self, request: Request) -> None:
        """Check that a question may be asked, and that there is room for it.

        Raises:
            RequestRefusedError: The key is missing or wrong, or the queue is too full now.
        """
        self.service.authorize(request)
        deadline = time.monotonic() + self.service.config.deadline_seconds
        self.service.batcher.require_room(_fewest_tokens(request), deadline)


def _host_name(scope: Scope) -> str:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _fewest_tokens(request: Request) -> int:
    """Estimate from its length how many tokens a request has at least."""
    declared = request.headers.get("content-length", "")
    return max(1, int(declared[:20]) // _BYTES_OF_A_TOKEN) if declared.isdecimal() else 1

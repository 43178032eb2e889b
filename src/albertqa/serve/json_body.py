"""JSON bodies of requests, read under limits: of size, of time, and of all bodies together."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from albertqa.serve import forms
from albertqa.serve.refusal import CLIENT_LEFT, RequestRefusedError
from albertqa.serve.service import Service

_BODIES_IN_FLIGHT = 16
"""Bodies of the longest kind that may be held at a time."""


class JsonRequest(Request):
    """A request whose JSON body was read under limits."""

    content: bytes
    value: Any

    async def load(self, service: Service) -> None:
        """Read the body.

        Raises:
            RequestRefusedError: It is too long, too slow, encoded, or not JSON.
        """
        encoding = self.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RequestRefusedError(415, f"Content-Encoding: expected none, found {forms.shown(encoding)}")
        kind = self.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise RequestRefusedError(415, f"Content-Type: expected application/json, found {forms.shown(kind)}")
        limit = service.config.max_body_bytes
        declared = self.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise RequestRefusedError(413, f"the body: expected at most {limit:,} bytes, found {int(declared[:20]):,}")
        self.content = b""
        try:
            async with asyncio.timeout(service.config.deadline_seconds):
                self.content = await self._read(service, limit)
        except TimeoutError as error:
            raise RequestRefusedError(
                408, f"the body: expected within {service.config.deadline_seconds:g} seconds"
            ) from error
        except ClientDisconnect as error:
            raise RequestRefusedError(CLIENT_LEFT, "the client left") from error
        try:
            self.value = msgspec.json.decode(self.content)
        except (ValueError, RecursionError) as error:
            reason = str(error).removeprefix("JSON is malformed: ")
            raise RequestRefusedError(
                400, f"the body: expected JSON in UTF-8, found something else ({reason})"
            ) from error

    async def _read(self, service: Service, limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in self.stream():
            size += len(chunk)
            service.body_bytes += len(chunk)
            self.scope["albertqa.body_bytes"] = size
            if size > limit:
                raise RequestRefusedError(413, f"the body: expected at most {limit:,} bytes, found more")
            if service.body_bytes > limit * _BODIES_IN_FLIGHT:
                raise RequestRefusedError(429, "the server is busy with long requests; try again later", retry_after=1)
            chunks.append(chunk)
        return b"".join(chunks)

    async def body(self) -> bytes:
        """Return what was read."""
        return self.content

    async def json(self) -> Any:
        """Return its value."""
        return self.value


class JsonRoute(APIRoute):
    """A route that reads its body under limits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what reads a body, handles the request, and counts the body no more."""
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            service: Service = request.app.state.service
            own = JsonRequest(request.scope, request.receive)
            try:
                await own.load(service)
                return await handle(own)
            finally:
                service.body_bytes -= request.scope.get("albertqa.body_bytes", 0)

        return limited

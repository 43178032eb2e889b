"""The HTTP application: routes, limits, errors.

The event loop moves bytes and counts the tokens of short texts, two threads count those of long ones, and the batcher's
thread computes; so a refusal never waits for an answer.
"""

import asyncio
import hmac
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any, Unpack

import msgspec
from fastapi import APIRouter, Body, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from albertqa.answer.answers import Answer, DocumentCandidate
from albertqa.answer.ranking import rank_answers
from albertqa.decode.reader_settings import ReaderChanges
from albertqa.decode.spans import Candidate
from albertqa.errors import DataError, SettingsError
from albertqa.serve import forms
from albertqa.serve.ask_page import docs_html, page_html
from albertqa.serve.batcher import Batcher, Job, Pair
from albertqa.serve.limits import LOOPBACK, ServeConfig
from albertqa.serve.metrics import Metrics
from albertqa.serve.refusal import RequestRefusedError

if TYPE_CHECKING:
    from albertqa.answer.answerer import Answerer
    from albertqa.answer.collection import Collection

LOGGER = logging.getLogger("albertqa.serve")

_BUSY = 429
_ANSWERING = ("/answer", "/", "/v1/answer")
_CLIENT_LEFT = 499
_BODIES_IN_FLIGHT = 16
"""Bodies of the longest kind that may be held at a time."""
_TOO_LONG = re.compile(r"question (?P<index>\d+): has (?P<tokens>\d+) tokens")
_BYTES_OF_A_TOKEN = 6
_SHORT_CHARS = 4_000
"""The tokens of so much text are counted on the event loop, in some two milliseconds at most, and not by a thread."""
_LONG_CHARS = 50_000
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": forms.Problem, "description": text}
    for status, text in {
        400: "The body is not JSON.",
        401: "The API key is missing or wrong.",
        408: "The body did not come in time.",
        413: "The request is longer than this server reads.",
        415: "The body is encoded, or is not declared as JSON.",
        422: "A field is wrong.",
        429: "The server is busy; `Retry-After` has the seconds to wait.",
        503: "The server is shutting down.",
        504: "The answer did not come in time.",
    }.items()
}


class Service:
    """A model that answers requests, and what all requests share.

    Args:
        answers: The model.
        name: What to call it.
        config: Limits.
        tokens_per_second: What the model reads, measured; see `measure_speed`.
        documents: Indexed documents to pick from.
    """

    def __init__(
        self,
        answers: "Answerer",
        name: str,
        config: ServeConfig,
        tokens_per_second: float,
        documents: "Collection | None" = None,
    ) -> None:
        self.answers = answers
        self.documents = documents
        self.name = name
        self.config = config
        self.is_ready = True
        self.body_bytes = 0
        self.metrics = Metrics(lambda: self.batcher.load, lambda: self.batcher.num_waiting)
        self.batcher = Batcher(
            answers,
            max_queue_tokens=config.max_queue_tokens,
            max_batch_tokens=config.max_batch_tokens,
            speed=tokens_per_second,
            observer=self.metrics,
        )
        self.counter = ThreadPoolExecutor(1, "albertqa-counter")
        self.long_counter = ThreadPoolExecutor(1, "albertqa-long-counter")

    def close(self) -> None:
        """Answer what waits, then end."""
        self.is_ready = False
        self.batcher.close()
        self.counter.shutdown()
        self.long_counter.shutdown()

    def authorize(self, request: Request) -> None:
        """Check the API key.

        Raises:
            RequestRefusedError: It is missing or wrong.
        """
        key = self.config.api_key
        if key is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), key.encode()):
            raise RequestRefusedError(401, "Authorization: expected 'Bearer KEY' with this server's API key")

    async def ask(
        self,
        request: Request,
        questions: Mapping[str, Pair],
        *,
        n_best: int,
        deadline_seconds: float,
        **reader_settings: Unpack[ReaderChanges],
    ) -> tuple[list[Answer], int]:
        """Answer the questions of one request.

        Args:
            request: The request; when its client leaves, its place is free.
            questions: The questions, each with its text, by their fields.
            n_best: Candidates of each.
            deadline_seconds: Longest time.
            reader_settings: Settings that differ from the model's own.

        Returns:
            The answers, and the tokens that were read.

        Raises:
            RequestRefusedError: There is no room, a question is too long, or time is up.
        """
        pairs = list(questions.values())
        deadline = time.monotonic() + deadline_seconds
        try:
            num_tokens = await self._count(pairs, reader_settings)
        except SettingsError as error:
            raise RequestRefusedError(422, f"parameters: {str(error).removeprefix('settings: ')}") from error
        except DataError as error:
            matched = _TOO_LONG.match(str(error))
            if matched is None:
                raise
            name = list(questions)[int(matched["index"])]
            raise RequestRefusedError(
                422, f"{name}: expected fewer tokens, found {matched['tokens']}, which leave no room for the text"
            ) from error
        job = Job(pairs, num_tokens, n_best, reader_settings, deadline)
        answered = asyncio.wrap_future(self.batcher.submit(job))
        left = asyncio.ensure_future(_client_left(request.receive))
        waited_for: set[asyncio.Future[Any]] = {answered, left}
        try:
            await asyncio.wait(waited_for, timeout=deadline - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            if answered.done() and not answered.cancelled():
                return answered.result(), num_tokens
        finally:
            left.cancel()
            answered.cancel()
        if left.done():
            raise RequestRefusedError(_CLIENT_LEFT, "the client left")
        raise RequestRefusedError(
            504, f"no answer within {deadline_seconds:g} seconds; ask for less, or try again later"
        )

    async def _count(self, pairs: list[Pair], reader_settings: ReaderChanges) -> int:
        num_chars = sum(len(question) + len(text) for question, text in pairs)
        count = partial(self.answers.num_tokens, pairs, **reader_settings)
        if num_chars <= _SHORT_CHARS:
            return count()
        # Others do not wait for a book to be counted.
        counter = self.long_counter if num_chars > _LONG_CHARS else self.counter
        return await asyncio.get_running_loop().run_in_executor(counter, count)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _JsonRequest(Request):
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
            raise RequestRefusedError(_CLIENT_LEFT, "the client left") from error
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
        return self.content

    async def json(self) -> Any:
        return self.value


def _fewest_tokens(request: Request) -> int:
    """Estimate from its length how many tokens a request has at least."""
    declared = request.headers.get("content-length", "")
    return max(1, int(declared[:20]) // _BYTES_OF_A_TOKEN) if declared.isdecimal() else 1


class _JsonRoute(APIRoute):
    """A route that reads its body under limits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            service: Service = request.app.state.service
            own = _JsonRequest(request.scope, request.receive)
            try:
                await own.load(service)
                return await handle(own)
            finally:
                service.body_bytes -= request.scope.get("albertqa.body_bytes", 0)

        return limited


class _Guard:
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
            if scope["method"] == "POST" and scope["path"] in _ANSWERING:
                known = scope["path"]
                self._admit(Request(scope))
            await self.app(scope, receive, send_with_headers)
        except RequestRefusedError as error:
            await _refusal(error)(scope, receive, send_with_headers)
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


def build_app(service: Service) -> FastAPI:
    """Build the application.

    Args:
        service: What answers; closed when the application ends.

    Returns:
        The application.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="albertqa",
        version=metadata.version("albertqa"),
        description="Answers to questions, marked in the text that they come from.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(_Guard, service=service)
    app.add_exception_handler(RequestRefusedError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_error)
    _add_answers(app, service)
    if service.documents is not None:
        _add_documents(app, service, service.documents)
    _add_operations(app, service)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    """Add the routes that answer questions."""
    config = service.config
    guarded = [Security(HTTPBearer(auto_error=False))] if config.api_key is not None else []

    async def answer_task(
        request: Request, asked: Annotated[forms.TaskRequest, Body()]
    ) -> forms.TaskAnswer | list[forms.TaskAnswer] | list[list[forms.TaskAnswer]]:
        """Answer a question, or a list of them, in the form of Hugging Face's question-answering task."""
        parameters = asked.parameters or forms.TaskParameters()
        is_list = isinstance(asked.inputs, list)
        inputs = asked.inputs if isinstance(asked.inputs, list) else [asked.inputs]
        _check_number("inputs", len(inputs), config.max_questions)
        found, _ = await service.ask(
            request,
            {
                f"inputs[{index}].question" if is_list else "inputs.question": (one.question, one.context)
                for index, one in enumerate(inputs)
            },
            n_best=parameters.top_k,
            deadline_seconds=config.deadline_seconds,
            max_answer_length=parameters.max_answer_len,
            version_2_with_negative=parameters.handle_impossible_answer,
            doc_stride=parameters.doc_stride,
            max_seq_length=parameters.max_seq_len,
        )
        lists = []
        for one, pair in zip(found, inputs, strict=True):
            service.metrics.on_answer(is_answer=bool(one.text))
            lists.append([_task_answer(each, pair.context, parameters) for each in one.n_best or [one]])
        if parameters.top_k > 1:
            return lists if is_list else lists[0]
        best = [candidates[0] for candidates in lists]
        return best if is_list else best[0]

    async def answer_documents(request: Request, asked: Annotated[forms.AnswerRequest, Body()]) -> forms.AnswerResponse:
        """Answer a question from one or several documents, with candidates, probabilities and places."""
        _check_number("documents", len(asked.documents), config.max_documents)
        ids = [str(index) if one.id is None else one.id for index, one in enumerate(asked.documents)]
        if len(set(ids)) < len(ids):
            twice = next(one for one in ids if ids.count(one) > 1)
            raise RequestRefusedError(422, f"documents: expected ids that differ, found {forms.shown(twice)} twice")
        found, num_tokens = await service.ask(
            request,
            {
                f"question on documents[{index}]": (asked.question, one.text)
                for index, one in enumerate(asked.documents)
            },
            n_best=asked.n_best,
            deadline_seconds=min(asked.deadline_seconds or config.deadline_seconds, config.deadline_seconds),
            max_answer_length=asked.max_answer_length,
            version_2_with_negative=asked.allow_no_answer,
            min_probability=asked.min_probability,
        )
        texts = [one.text for one in asked.documents]
        ranked = rank_answers(asked.question, texts, found, [(one, 0) for one in ids], asked.n_best)
        spans = [_span(one, texts[ids.index(one.document)] if one.document else "") for one in ranked.n_best]
        answer = spans[0] if spans and spans[0].text else None
        service.metrics.on_answer(is_answer=answer is not None)
        return forms.AnswerResponse(
            answer=answer,
            probability=spans[0].probability if spans else 0.0,
            null_score=ranked.null_score,
            n_best=spans,
            num_tokens=num_tokens,
        )

    router = APIRouter(route_class=_JsonRoute, responses=_PROBLEMS, dependencies=guarded)
    task, itself, documents = _ANSWERING
    router.post(task, summary="Answer in Hugging Face's task form")(answer_task)
    # Clients of Hugging Face's endpoints post to the address itself.
    router.post(itself, include_in_schema=False)(answer_task)
    router.post(documents, summary="Answer from one or several documents")(answer_documents)
    app.include_router(router)


def _add_documents(app: FastAPI, service: Service, documents: "Collection") -> None:
    """Add the routes that hand out indexed documents."""

    @app.get("/v1/documents", summary="Names of indexed documents")
    def list_documents(
        request: Request, contains: str = "", limit: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> forms.DocumentList:
        service.authorize(request)
        names = documents.documents()
        found = [name for name in names if contains.casefold() in name.casefold()]
        return forms.DocumentList(documents=found[:limit], total=len(found))

    @app.get("/v1/documents/text", summary="The text of an indexed document", responses={404: {"model": forms.Problem}})
    def read_document(request: Request, id: Annotated[str, Query(max_length=4096)]) -> forms.Document:  # noqa: A002 -- the parameter's name
        service.authorize(request)
        try:
            return forms.Document(id=id, text=documents.text(id))
        except DataError as error:
            raise RequestRefusedError(
                404, f"id: expected the name of an indexed document, found {forms.shown(id)}"
            ) from error


def _add_operations(app: FastAPI, service: Service) -> None:
    """Add the pages, and the routes for those who run the server."""

    @app.get("/health", summary="Whether the process is alive")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether it wants requests", responses={503: {"model": forms.Problem}})
    async def ready() -> dict[str, str]:
        if not service.is_ready:
            raise RequestRefusedError(503, "the server is shutting down", retry_after=1)
        return {"status": "ready"}

    @app.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        service.authorize(request)
        return PlainTextResponse(service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/v1/model", summary="The model, how it reads, and what this server accepts")
    async def model() -> forms.ModelFacts:
        settings, config = service.answers.settings, service.config
        return forms.ModelFacts(
            model=service.name,
            max_seq_length=settings.max_seq_length,
            doc_stride=settings.doc_stride,
            max_answer_length=settings.max_answer_length,
            knows_no_answer=bool(settings.version_2_with_negative),
            is_calibrated=settings.confidence is not None,
            has_documents=service.documents is not None,
            needs_api_key=config.api_key is not None,
            max_body_bytes=config.max_body_bytes,
            max_questions=config.max_questions,
            max_documents=config.max_documents,
            max_request_tokens=config.max_queue_tokens,
            deadline_seconds=config.deadline_seconds,
        )

    page, page_policy = page_html()

    @app.get("/", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"content-security-policy": page_policy})

    docs, docs_policy = docs_html(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def show_docs() -> HTMLResponse:
        return HTMLResponse(docs, headers={"content-security-policy": docs_policy})


def _check_number(name: str, number: int, most: int) -> None:
    if number > most:
        raise RequestRefusedError(422, f"{name}: expected at most {most}, found {number}")


def _task_answer(one: Answer | Candidate, context: str, parameters: forms.TaskParameters) -> forms.TaskAnswer:
    start, end = one.start_char, one.end_char
    if parameters.align_to_words and end > start:
        while start > 0 and context[start].isalnum() and context[start - 1].isalnum():
            start -= 1
        while end < len(context) and context[end - 1].isalnum() and context[end].isalnum():
            end += 1
    return forms.TaskAnswer(answer=context[start:end], score=one.probability, start=start, end=end)


def _span(found: DocumentCandidate, text: str) -> forms.Span:
    if found.document is None:
        return forms.Span(text="", probability=found.probability, score=found.score)
    start_utf16 = _num_utf16(text[: found.start_char])
    return forms.Span(
        text=found.text,
        probability=found.probability,
        score=found.score,
        document=found.document,
        start=found.start_char,
        end=found.end_char,
        start_utf16=start_utf16,
        end_utf16=start_utf16 + _num_utf16(found.text),
    )


def _num_utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _refuse(status: int, problem: forms.Problem, retry_after: int | None = None) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers)


async def _on_refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestRefusedError)
    return _refusal(error)


def _refusal(error: RequestRefusedError) -> JSONResponse:
    name, colon, _rest = str(error).partition(": ")
    field = name if colon and error.status == 422 else None
    return _refuse(error.status, forms.Problem(error=str(error), field=field), error.retry_after)


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return _refuse(422, forms.explain(error.errors()))


async def _on_http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentence = {404: "no such address; see /docs", 405: "this address takes other methods; see /docs"}
    response = _refuse(error.status_code, forms.Problem(error=sentence.get(error.status_code, str(error.detail))))
    response.headers.update(error.headers or {})
    return response


async def _on_error(_: Request, __: Exception) -> JSONResponse:
    return _refuse(500, forms.Problem(error="the server failed; its log says where"))

"""The HTTP application: its routes, from a request's form to a response's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, FastAPI, Query, Request, Response, Security
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.security import HTTPBearer

from albertqa.answer.answers import Answer, DocumentCandidate
from albertqa.answer.ranking import rank_answers
from albertqa.decode.spans import Candidate
from albertqa.errors import DataError
from albertqa.serve import forms
from albertqa.serve.ask_page import docs_html, page_html
from albertqa.serve.error_responses import add_error_responses
from albertqa.serve.guard import ANSWERING, Guard
from albertqa.serve.json_body import JsonRoute
from albertqa.serve.refusal import RequestRefusedError
from albertqa.serve.service import Service

if TYPE_CHECKING:
    from albertqa.answer.collection import Collection

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
    app.add_middleware(Guard, service=service)
    add_error_responses(app)
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

    router = APIRouter(route_class=JsonRoute, responses=_PROBLEMS, dependencies=guarded)
    task, itself, documents = ANSWERING
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

"""What a request gets that is refused or fails: a `Problem`, with a status and headers."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from albertqa.serve import forms
from albertqa.serve.refusal import RequestRefusedError


def add_error_responses(app: FastAPI) -> None:
    """Answer every error of an application with a `Problem`."""
    app.add_exception_handler(RequestRefusedError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_error)


def refusal_response(error: RequestRefusedError) -> JSONResponse:
    """Return the response to a request that is refused."""
    name, colon, _rest = str(error).partition(": ")
    field = name if colon and error.status == 422 else None
    return _refuse(error.status, forms.Problem(error=str(error), field=field), error.retry_after)


def _refuse(status: int, problem: forms.Problem, retry_after: int | None = None) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers)


async def _on_refusal(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestRefusedError)
    return refusal_response(error)


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

"""Every error as `application/problem+json` (RFC 9457), decided in this one place."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from moerec.api.schemas import FieldFault, Problem, plain
from moerec.errors import MoerecError
from moerec.observability.logging import request_id

PROBLEM_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 1

_KINDS: Final = {
    # Our own words: those of `http.HTTPStatus` change with the version of Python.
    400: ("bad_request", "Bad Request"),
    401: ("token_invalid", "Unauthorized"),
    403: ("forbidden", "Forbidden"),
    404: ("not_found", "Not Found"),
    405: ("method_not_allowed", "Method Not Allowed"),
    409: ("conflict", "Conflict"),
    413: ("body_too_large", "Content Too Large"),
    415: ("unsupported_media_type", "Unsupported Media Type"),
    422: ("invalid_request", "Unprocessable Content"),
    429: ("rate_limited", "Too Many Requests"),
    500: ("internal_error", "Internal Server Error"),
    503: ("unavailable", "Service Unavailable"),
}
"""HTTP status -> the code and the title of its problems."""

_BODY_TAGS: Final = ("body", "query", "path", "header", "event", "batch")


class ApiError(HTTPException):
    """A refusal that a route or a middleware decides on; `code` is for programs, `detail` for people."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: list[FieldFault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem document as a response."""
    usual_code, title = _KINDS.get(status, ("error", "Error"))
    code = code or usual_code
    document = Problem(
        type=f"urn:moerec:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        request_id=request_id.get(),
        errors=errors or [],
    )
    more = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    return Response(
        document.model_dump_json(),
        status_code=status,
        media_type=PROBLEM_TYPE,
        headers=more | dict(headers or {}),
    )


def refusal(error: MoerecError | ApiError) -> Response:
    """One of our errors as a problem."""
    if isinstance(error, ApiError):
        return problem(error.status_code, error.detail, code=error.code, headers=error.headers)
    return problem(error.http_status, str(error).replace("\n", " "))


def add_error_handlers(app: FastAPI) -> None:
    """Turns each kind of error into a problem. What nobody expected is caught by the middleware."""
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(MoerecError, _moerec_error)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - Starlette looks handlers up by class
    if isinstance(error, ApiError):
        return refusal(error)
    return problem(error.status_code, error.detail, headers=error.headers)


async def _moerec_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, MoerecError)  # noqa: S101 - Starlette looks handlers up by class
    return refusal(error)


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    faults = error.errors()
    kind = request.headers.get("content-type", "")
    if any(_body_was_not_read(fault) for fault in faults) and "json" not in kind:
        return problem(
            415, f"The body must be JSON, sent with Content-Type: application/json, not {kind!r}."
        )
    fields = [FieldFault(field=_field(fault), message=_message(fault)) for fault in faults]
    detail = "; ".join(f"{fault.field}: {fault.message}" for fault in fields)
    return problem(422, f"The request is not valid. {detail}", errors=fields)


def _body_was_not_read(fault: dict[str, Any]) -> bool:
    return fault["loc"][:1] == ("body",) and isinstance(fault.get("input"), bytes | str | None)


def _field(fault: dict[str, Any]) -> str:
    """The field's path as the caller wrote it: `events.3.user_id`, or `body` for the whole."""
    place = list(fault["loc"])
    if fault["type"] == "json_invalid":
        return "body"
    while place and place[0] in _BODY_TAGS:
        place.pop(0)
    return ".".join(map(str, place)) or "body"


def _message(fault: dict[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return f"this is not JSON ({fault['ctx']['error']} at character {fault['loc'][-1]})"
    return plain(fault["msg"])


def problem_responses(
    *statuses: Literal[400, 401, 403, 404, 409, 413, 415, 422, 429, 503],
) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses are problems."""
    return {status: {"model": Problem, "description": _KINDS[status][1]} for status in statuses}

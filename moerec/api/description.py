"""How the API describes itself: FastAPI's OpenAPI document, made complete."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from moerec.api.auth import RIGHTS
from moerec.api.errors import PROBLEM_TYPE, problem_responses

_DESCRIPTION: Final = """Live recommendations from a mixture-of-experts transformer.

Send what users do to `POST /v1/events`; ask for lists at `GET /v1/users/{user_id}/recommendations`.
In production every request under `/v1` needs a token, `Authorization: Bearer TOKEN`, with the scope that
stands with the operation. Errors are problem documents (RFC 9457). Unknown fields of a body are refused,
but for an item, whose fields are its own. All ids are strings."""

_TAGS: Final = [
    {"name": "recommendations", "description": "Lists for users and histories."},
    {"name": "items", "description": "Items that come and go, and lists that belong to no user."},
    {"name": "events", "description": "What users did: durable, idempotent, in the next list."},
    {"name": "health", "description": "For load balancers and monitoring."},
]


def describe(app: FastAPI) -> None:
    """Makes `app.openapi` return our document: FastAPI's, with problems under their own media type."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version=app.openapi_version,
                description=_DESCRIPTION,
                tags=_TAGS,
                routes=app.routes,
            )
            _tell_of_the_guard(document)
            _name_problems(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A JSON Web Token: `moerec token` makes one. In development mode none is needed.",
}
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_HEADERS: Final = {
    401: {"WWW-Authenticate": "`Bearer`, and the error if a token was given."},
    403: {"WWW-Authenticate": "The scope that is lacking, if it is one."},
    429: {
        "Retry-After": "Seconds until the next request may come.",
        "RateLimit": "The same, as draft-ietf-httpapi-ratelimit-headers has it.",
        "RateLimit-Policy": "The limit: `q` requests in `w` seconds.",
    },
}


def _tell_of_the_guard(document: dict[str, Any]) -> None:
    """What a token is, which scope a route needs, and how its requests are refused."""
    document["components"]["securitySchemes"] = {"token": _TOKEN}
    for (method, path), scope in RIGHTS.items():
        operation = document["paths"][path][method.lower()]
        operation["security"] = [{"token": [scope]}]
        responses = operation["responses"]
        for status, kind in problem_responses(401, 403, 429).items():
            responses[str(status)] = {
                "description": kind["description"],
                "content": {"application/json": {"schema": _PROBLEM}},
                "headers": {
                    name: {"description": text, "schema": {"type": "string"}}
                    for name, text in _HEADERS[int(status)].items()
                },
            }
        operation["responses"] = dict(sorted(responses.items()))


def _name_problems(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {
                        PROBLEM_TYPE: response["content"].pop("application/json")
                    }

"""How the API describes itself: FastAPI's OpenAPI document, made complete."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from moerec.api.errors import PROBLEM_TYPE

_DESCRIPTION: Final = """Live recommendations from a mixture-of-experts transformer.

Send what users do to `POST /v1/events`; ask for lists at `GET /v1/users/{user_id}/recommendations`.
Errors are problem documents (RFC 9457). Unknown fields of a body are refused. All ids are strings."""

_TAGS: Final = [
    {"name": "recommendations", "description": "Lists for users and histories."},
    {"name": "items", "description": "Lists that belong to no user."},
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
            _name_problems(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _name_problems(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for operation in path.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    response["content"] = {
                        PROBLEM_TYPE: response["content"].pop("application/json")
                    }

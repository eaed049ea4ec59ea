"""How a list goes out of a route."""

from fastapi import Response

from moerec.api.answers import JSON, Answer, body, headers


def listed(made: Answer) -> Response:
    """The list as a response."""
    return Response(body(made), media_type=JSON, headers=headers(made))

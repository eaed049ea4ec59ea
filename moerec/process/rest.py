"""A few lines of HTTP: what the demo says to its own server, as anybody's curl would."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from moerec.errors import ServiceError

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON body, and the milliseconds from the request's first byte to the answer's last."""

    body: dict[str, Any]
    ms: float


class Rest:
    """A server's address; each request opens a connection of its own, as a curl does."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._address = (host, port)

    def get(self, path: str) -> Answer:
        """GET; raises ServiceError unless the answer is a 2xx."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """POST of a JSON body; raises ServiceError unless the answer is a 2xx."""
        return self._exchange("POST", path, json.dumps(body))

    def _exchange(self, method: str, path: str, body: str | None) -> Answer:
        headers = {"content-type": "application/json"} if body is not None else {}
        started = time.perf_counter()
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(f"{method} {self.url}{path} got no answer: {error}.") from error
        finally:
            connection.close()
        ms = (time.perf_counter() - started) * 1e3
        if not http.HTTPStatus.OK <= response.status < http.HTTPStatus.MULTIPLE_CHOICES:
            raise ServiceError(
                f"{method} {self.url}{path} was answered with {response.status}.", data.decode()
            )
        return Answer(json.loads(data), ms)


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")

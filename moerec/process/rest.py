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
    """One connection to a server, opened again where it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def get(self, path: str) -> Answer:
        """GET; raises ServiceError unless the answer is a 2xx."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """POST of a JSON body; raises ServiceError unless the answer is a 2xx."""
        return self._exchange("POST", path, json.dumps(body))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _exchange(self, method: str, path: str, body: str | None) -> Answer:
        started = time.perf_counter()
        try:
            try:
                status, data = self._once(method, path, body)
            except (ConnectionError, http.client.RemoteDisconnected):
                # A kept connection may have ended meanwhile, and every request here can be repeated.
                self._connection.close()
                status, data = self._once(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ServiceError(f"{method} {self.url}{path} got no answer: {error}.") from error
        ms = (time.perf_counter() - started) * 1e3
        if not http.HTTPStatus.OK <= status < http.HTTPStatus.MULTIPLE_CHOICES:
            raise ServiceError(
                f"{method} {self.url}{path} was answered with {status}.", data.decode()
            )
        return Answer(json.loads(data), ms)

    def _once(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"} if body is not None else {}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.read()


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")

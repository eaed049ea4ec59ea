"""The demo's few lines of HTTP."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from moerec.errors import ServiceError
from moerec.process.rest import Rest


class Moody(http.server.BaseHTTPRequestHandler):
    """Says yes to one path and no to the others."""

    def do_GET(self) -> None:
        status, body = (
            (200, b'{"a": 1}') if self.path == "/good" else (503, b'{"detail": "not now"}')
        )
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def rest() -> Iterator[Rest]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Rest("127.0.0.1", server.server_address[1])
        server.shutdown()
        thread.join()


def test_an_answer_has_a_body_and_took_its_time(rest: Rest) -> None:
    answer = rest.get("/good")
    assert answer.body == {"a": 1}
    assert answer.ms > 0


def test_an_error_is_raised_with_what_the_server_said(rest: Rest) -> None:
    with pytest.raises(ServiceError, match="was answered with 503") as caught:
        rest.get("/bad")
    assert "not now" in caught.value.remedy


def test_nobody_there_is_an_error_too() -> None:
    with pytest.raises(ServiceError, match="got no answer"):
        Rest("127.0.0.1", 9).get("/good")

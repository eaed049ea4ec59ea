"""A small stand-in for the gateway, with the few routes that the demo asks."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from moerec.process.demo.viewer import Viewer
from moerec.process.rest import Rest
from moerec.types import UserId

FILMS = ["alien", "aliens", "heat", "ran", "solaris", "stalker", "up"]


class FakeGateway(ThreadingHTTPServer):
    """Films in alphabetical order for strangers; for others backwards, without those they watched."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.watched: dict[str, list[str]] = {}
        self.requests: list[str] = []
        self.learns = True
        self.rejects = False
        self.busy = 0

    def recommend(self, user_id: str, k: int) -> dict[str, Any]:
        watched = self.watched.get(user_id, [])
        if self.busy:
            self.busy -= 1
            return answer(FILMS[:k], "engine_unavailable", degraded="popular")
        if not watched or not self.learns:
            return answer(FILMS[:k], None if watched else "unknown_user")
        return answer([film for film in reversed(FILMS) if film not in watched][:k], None)


def answer(films: list[str], fallback: str | None, degraded: str | None = None) -> dict[str, Any]:
    return {
        "items": [
            {"item_id": film, "title": film.title(), "rank": rank, "score": 1 / rank}
            for rank, film in enumerate(films, start=1)
        ],
        "model": {"version": "v", "experts": [] if fallback else [[0, 3], [1, 2, 5]]},
        "fallback": {"code": fallback, "reason": "because"} if fallback else None,
        "degraded": degraded,
        "timings_ms": {"total": 2.0, "engine": None if fallback else 1.5},
    }


class _Handler(BaseHTTPRequestHandler):
    server: FakeGateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.requests.append(f"GET {self.path}")
        k = int(parse_qs(url.query)["k"][0])
        match [unquote(part) for part in url.path.split("/")][2:]:
            case ["users", user_id, "recommendations"]:
                self.reply(200, self.server.recommend(user_id, k))
            case ["items", item_id, "similar"]:
                self.reply(200, answer([film for film in FILMS if film != item_id][:k], None))
            case _:
                self.reply(404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(f"POST {self.path} {body['item_id']}")
        if self.server.rejects:
            rejected = [{"index": 0, "code": "invalid_event", "message": "no such thing"}]
            self.reply(200, {"results": [], "rejected": rejected})
            return
        self.server.watched.setdefault(body["user_id"], []).append(body["item_id"])
        number = len(self.server.watched[body["user_id"]])
        result = {"event_id": "e", "status": "accepted", "number": number}
        self.reply(200, {"results": [result], "rejected": []})

    def reply(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def viewer(gateway: FakeGateway) -> Viewer:
    return Viewer(Rest("127.0.0.1", gateway.server_address[1]), UserId("guest/1 ü"))

"""A request: the same through the file, and well-formed HTTP."""

import json
from pathlib import Path

from moerec.loadtest.plan import Target
from moerec.loadtest.requests import Ask, raw_request, read_asks, write_asks


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    asks = [Ask("u1"), Ask("u2", json.dumps('i"✓\t3')), Ask("u1")]
    write_asks(tmp_path / "asks", asks)
    assert read_asks(tmp_path / "asks") == asks


def test_requests_are_http() -> None:
    target = Target("127.0.0.1", 8123, "abc")
    read = raw_request(Ask("u1"), target, 7).decode()
    assert read.startswith("GET /v1/users/u1/recommendations?k=7 HTTP/1.1\r\n")
    assert "\r\nHost: 127.0.0.1:8123\r\n" in read
    assert "\r\nAuthorization: Bearer abc\r\n" in read
    assert read.endswith("\r\n\r\n")
    event = raw_request(Ask("u1", json.dumps('i"✓')), target, 7)
    head, _, body = event.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"user_id": "u1", "item_id": 'i"✓'}

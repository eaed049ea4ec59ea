"""The engine's door refuses an address it cannot have, and makes the socket's folder."""

import socket
from pathlib import Path

import grpc
import pytest

from moerec.errors import SettingsError
from moerec.transport.frames import (
    METHOD,
    InfoReply,
    InfoRequest,
    Reply,
    ReplyFrame,
    Request,
    RequestFrame,
    decode_reply,
    encode,
)
from moerec.transport.server import serve


def toy(requests: list[Request]) -> list[Reply]:
    return [InfoReply("toy", 1, 0)] * len(requests)


def test_the_sockets_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    server = serve(toy, f"unix:{tmp_path}/run/engine.sock")
    server.stop(0).wait()
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_foreign_bytes_end_their_stream_and_not_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"unix:{tmp_path}/engine.sock"
    server = serve(toy, address)
    with grpc.insecure_channel(address) as channel:
        stream = channel.stream_stream(METHOD)
        assert list(stream(iter([b"GET / HTTP/1.1"]))) == []
        (reply,) = stream(iter([encode(RequestFrame(7, 1000.0, [InfoRequest()]))]))
    assert decode_reply(reply) == ReplyFrame(7, [InfoReply("toy", 1, 0)])
    server.stop(0).wait()
    assert "foreign bytes" in caplog.text


def test_a_socket_left_by_a_killed_engine_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = serve(toy, f"unix:{path}")
    server.stop(0).wait()


def test_an_address_that_cannot_be_bound_is_refused_with_its_name() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on 256\.0\.0\.1:1"):
        serve(toy, "256.0.0.1:1")

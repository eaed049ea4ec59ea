"""Ports are looked at before anything starts."""

import socket
from collections.abc import Iterator

import pytest

from moerec.errors import UsageError
from moerec.process.ports import next_free, require_free


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_busy_port_is_refused_with_a_remedy(busy_port: int) -> None:
    with pytest.raises(UsageError, match=f"Port {busy_port} on 127.0.0.1 is in use") as caught:
        require_free("127.0.0.1", busy_port)
    assert "--port" in caught.value.remedy


def test_a_free_port_is_left_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    require_free("127.0.0.1", port)
    assert next_free("127.0.0.1", port) == port


def test_the_next_free_port_is_found(busy_port: int) -> None:
    assert busy_port < next_free("127.0.0.1", busy_port) < busy_port + 50


def test_an_address_of_somebody_else_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Nobody can listen on 192\.0\.2\.1"):
        require_free("192.0.2.1", 8000)
    with pytest.raises(UsageError, match=r"Nobody can listen on 192\.0\.2\.1"):
        next_free("192.0.2.1", 8000)


def test_the_system_picks_a_port() -> None:
    """The demo took port 0 literally, and waited for a service at port 0 to become ready."""
    port = next_free("127.0.0.1", 0)
    assert port > 0
    require_free("127.0.0.1", port)

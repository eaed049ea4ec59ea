"""Finds out before anything is started whether a port can be listened on."""

import errno
import socket

from moerec.errors import UsageError

PORTS_TRIED = 50


def require_free(host: str, port: int) -> None:
    """Raises UsageError, with what to do, where nobody could listen on `host` and `port`."""
    try:
        _bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"Port {port} on {host} is in use by another program.",
                f"Choose another one: --port {port + 1 if port < 65_535 else 8000}",
            ) from error
        raise _cannot_listen(host, port, error) from error


def next_free(host: str, port: int) -> int:
    """`port`, or the first one above it that is free; raises UsageError if 50 in a row are not.

    Port 0 is any free one.
    """
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
        try:
            return _bind(host, candidate)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                break
    require_free(host, port)
    return port


def _cannot_listen(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(
        f"Nobody can listen on {host}, port {port}: {error.strerror or error}.",
        "Choose another one with --host and --port.",
    )


def _bind(host: str, port: int) -> int:
    """Listens for a moment; the port that was taken."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as door:
        # As servers do: connections of the last run in TIME_WAIT do not count, a listener does.
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(1)
        taken: int = door.getsockname()[1]
        return taken

"""The ceiling: constant bytes from a bare ASGI application, under the server that the gateway runs on.

python -m moerec.loadtest.ceiling PORT BYTES
"""

import socket
import sys

from starlette.types import ASGIApp, Receive, Scope, Send

from moerec.api.main import BACKLOG, make_server

HOST = "127.0.0.1"


def constant(size: int) -> ASGIApp:
    """An application that answers everything with 200 and `size` bytes, and does nothing else."""
    body = b"x" * size
    head = [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return answer


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve until SIGTERM."""
    port, size = map(int, sys.argv[1:3])
    listener = socket.create_server((HOST, port), backlog=BACKLOG)
    make_server(constant(size), shutdown_s=1).run(sockets=[listener])


if __name__ == "__main__":
    main()

"""The gateway: `create_app` for servers and tests, `python -m moerec.api.main` for a process."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moerec import __version__
from moerec.api.description import describe
from moerec.api.errors import add_error_handlers
from moerec.api.gateway import open_gateway
from moerec.api.hot import ShortWay
from moerec.api.middleware import RequestMiddleware
from moerec.api.protocol import FrontDoor
from moerec.api.routes import docs, events, health, items, recommendations
from moerec.api.tokens import TokenVerifier
from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.errors import MoerecError, SettingsError
from moerec.observability.logging import configure_logging
from moerec.observability.metrics import Metrics
from moerec.settings import Settings
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.client import EngineClient

logger = logging.getLogger("moerec.api.main")  # `__name__` is "__main__" in the process

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75
"""How long a connection may be idle: longer than load balancers keep theirs (60 s), so that the side that
sends is the side that closes. A request on its way to a connection that just closes is lost."""

GARBAGE_AFTER: Final = 20_000
"""Objects more than before, after which Python looks for cycles among the young ones."""


def create_app(
    settings: Settings,
    *,
    bundle: Bundle | None = None,
    engine: EngineClient | None = None,
    store: EventStore | None = None,
) -> FastAPI:
    """The gateway as an ASGI application, whole for any server; `make_server` gives it a short way too.

    Nothing but the key of the tokens is read before the application starts (SettingsError if it cannot
    be used). Parts that are given here are used in place of
    those of the settings, and closed with the application.
    """
    metrics = Metrics()
    verifier = TokenVerifier.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_gateway(
            settings, metrics, verifier, bundle=bundle, engine=engine, store=store
        ) as gateway:
            app.state.gateway = gateway
            app.state.short_way.open(gateway)
            yield
            app.state.short_way.close()

    app = FastAPI(
        title="moerec",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # A redirection would name this process, not the proxy in front; no route needs one.
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    for routes in (recommendations, items, events, health, docs):
        app.include_router(routes.router)
    docs.mount_assets(app)
    add_error_handlers(app)
    app.add_middleware(RequestMiddleware, metrics=metrics, max_body_bytes=settings.max_body_bytes)
    app.state.short_way = ShortWay()
    app.state.front_door = partial(
        FrontDoor,
        short_way=app.state.short_way,
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
    )
    describe(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def main() -> int:
    """Serves until SIGTERM or Ctrl-C, then finishes what is under way. Returns the exit code."""
    try:
        settings = Settings.load()
        configure_logging(settings.log_level)
        bundle = read_bundle(settings.bundle_path())
        listener = _listen(settings)
        store = open_event_store(settings.database_url, settings.durability)
        app = create_app(settings, bundle=bundle, store=store)
    except MoerecError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    server = make_server(app, settings.shutdown_s, app.state.front_door)
    # uvicorn raises the signal again when it is done; then the process shall end with exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _already_shut_down)
    calm_collector()
    logger.info("Listening on http://%s:%d", *listener.getsockname()[:2])
    server.run(sockets=[listener])
    return 0 if server.started else 1


def make_server(
    app: ASGIApp,
    shutdown_s: int,
    protocol: Callable[..., asyncio.Protocol] = HttpToolsProtocol,
    keep_alive_s: int = KEEP_ALIVE_S,
) -> uvicorn.Server:
    """The server of the gateway, which gives requests under way `shutdown_s` seconds at its end.

    `protocol` speaks HTTP; a gateway's `state.front_door` knows its short way.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=protocol,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            server_header=False,
            # Nothing here asks where a request came from; the proxy in front logs that.
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=shutdown_s,
            timeout_keep_alive=keep_alive_s,
        )
    )


def calm_collector() -> None:
    """Lets Python look for garbage in cycles seldom, and not among what is here to stay.

    A request leaves none behind, but makes objects enough that the collector would go through the living
    ones after every few requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER)


def _already_shut_down(*_: Any) -> None:  # noqa: ANN401 - a signal handler
    pass


def _listen(settings: Settings) -> socket.socket:
    """The listening socket; SettingsError if the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            "Choose another port: MOEREC_PORT, or --port.",
        ) from None


if __name__ == "__main__":
    sys.exit(main())

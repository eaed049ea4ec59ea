"""`moerec serve`: a gateway and an engine as two processes, kept alive together."""

import importlib.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from moerec.api.tokens import TokenVerifier
from moerec.artifacts.bundle import read_bundle
from moerec.errors import UsageError
from moerec.process.children import STOP_S, ChildSpec
from moerec.process.ports import next_free, require_free
from moerec.process.supervisor import Supervisor, http_ready
from moerec.settings import PREFIX, Settings
from moerec.store.sql import open_event_store

PASSED_ON = ("environment", "bundle", "database_url", "engine_address", "host", "port")
"""Settings that the children get from us; the others they read from the environment themselves."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C. Raises what keeps it from starting, and ServiceError if it breaks."""
    if settings.port == 0:
        settings = settings.model_copy(update={"port": next_free(settings.host, 0)})
    check(settings)
    with private_socket(settings) as settings:
        supervisor = make_supervisor(settings, say=_write_line, hear=_write_child_line)
        with stopped_by_signals(supervisor.stop):
            supervisor.run(on_ready=lambda: _write_line(_welcome(settings)))
    _write_line("Stopped.")


def check(settings: Settings) -> None:
    """Raises, before anything is started, what would keep the service from starting."""
    if importlib.util.find_spec("torch") is None:
        raise UsageError(
            "The engine needs PyTorch, which is not installed.",
            "Install it: pip install 'moerec[engine]'",
        )
    TokenVerifier.of(settings)
    read_bundle(settings.bundle_path())
    require_free(settings.host, settings.port)
    open_event_store(settings.database_url, settings.durability).close()


@contextmanager
def private_socket(settings: Settings) -> Iterator[Settings]:
    """The settings with a Unix socket of our own between the two, unless the user chose an address."""
    if "engine_address" in settings.model_fields_set:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="moerec-") as folder:
        yield settings.model_copy(update={"engine_address": f"unix:{folder}/engine.sock"})


def make_supervisor(
    settings: Settings, say: Callable[[str], None], hear: Callable[[str, str], None]
) -> Supervisor:
    """A supervisor of a gateway and an engine for these settings; the gateway is stopped first."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    for name in PASSED_ON:
        environment[PREFIX + name.upper()] = str(getattr(settings, name))
    children = [
        ChildSpec("gateway", "moerec.api.main", (), environment, STOP_S + settings.shutdown_s),
        ChildSpec("engine", "moerec.engine.server", (), environment),
    ]
    return Supervisor(children, lambda: http_ready(settings.host, settings.port), say, hear)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` inside the block (main thread only)."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    # From a thread: the handler runs inside the main thread, which may hold the lock that `stop` wants.
    before = [
        signal.signal(number, lambda *_: threading.Thread(target=stop).start())
        for number in numbers
    ]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _welcome(settings: Settings) -> str:
    url = f"http://{settings.host}:{settings.port}"
    header = ""
    if settings.environment == "production":
        header = '-H "Authorization: Bearer $(moerec token --sub me)" '
    return "\n".join(
        [
            f"Serving {url} (Ctrl-C stops)",
            f"  try   curl {header}'{url}/v1/users/anybody/recommendations?k=5'",
            f"  docs  {url}/docs",
        ]
    )


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _write_child_line(name: str, line: str) -> None:
    sys.stderr.write(f"{name:<7} | {line}\n")
    sys.stderr.flush()

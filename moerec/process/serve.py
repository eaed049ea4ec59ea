"""`moerec serve`: a gateway and its engines, each a process, kept alive together."""

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

PASSED_ON = (
    "environment",
    "bundle",
    "database_url",
    "engine_address",
    "engines",
    "host",
    "port",
    "taste_memo",
)
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
    """The settings with a Unix socket of our own for each engine, unless the user chose addresses."""
    if "engine_address" in settings.model_fields_set:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix="moerec-") as folder:
        addresses = [f"unix:{folder}/{name}.sock" for name in engine_names(settings.engines)]
        yield settings.model_copy(update={"engine_address": ",".join(addresses)})


def engine_names(count: int) -> list[str]:
    """What people call so many engines."""
    return ["engine"] if count == 1 else [f"engine-{number}" for number in range(1, count + 1)]


def make_supervisor(
    settings: Settings, say: Callable[[str], None], hear: Callable[[str, str], None]
) -> Supervisor:
    """A supervisor of a gateway and its engines for these settings; the gateway is stopped first."""
    addresses = settings.engine_addresses
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if len(addresses) > 1:
        # One core is the gateway's; the engines share the others.
        threads = max(1, ((os.cpu_count() or 1) - 1) // len(addresses))
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    # What the setting promises holds for the machine.
    arena = {f"{PREFIX}ARENA_MIB": str(max(1, settings.arena_mib // len(addresses)))}
    gateway = environment | _passed_on(settings, settings.engine_address, len(addresses))
    children = [ChildSpec("gateway", "moerec.api.main", (), gateway, STOP_S + settings.shutdown_s)]
    for name, address in zip(engine_names(len(addresses)), addresses, strict=True):
        engine = environment | _passed_on(settings, address, 1) | arena
        children.append(ChildSpec(name, "moerec.engine.server", (), engine))
    return Supervisor(children, lambda: http_ready(settings.host, settings.port), say, hear)


def _passed_on(settings: Settings, address: str, engines: int) -> dict[str, str]:
    given = settings.model_copy(update={"engine_address": address, "engines": engines})
    return {PREFIX + name.upper(): str(getattr(given, name)) for name in PASSED_ON}


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
    sys.stderr.write(f"{name:<9} | {line}\n")
    sys.stderr.flush()

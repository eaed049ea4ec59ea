"""The service that is measured, as `moerec serve` runs it: started, watched, asked what it costs, stopped."""

import asyncio
import http.client
import json
import os
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import msgspec
import psutil

from moerec.api.tokens import signed
from moerec.errors import EngineUnavailableError, ServiceError
from moerec.loadtest.ceiling import HOST
from moerec.loadtest.plan import Plan, Target
from moerec.process.background import BackgroundService
from moerec.process.children import ChildSpec
from moerec.process.ports import next_free, require_free
from moerec.process.serve import check, engine_names, make_supervisor, private_socket
from moerec.process.supervisor import Supervisor, http_ready
from moerec.settings import PREFIX, Settings
from moerec.transport.frames import InfoReply, InfoRequest, Reply
from moerec.transport.remote import RemoteEngineClient

TIMEOUT_S: Final = 30.0
LAST_LINES: Final = 30
GENEROUS: Final = {"USER_RATE": "1000000", "USER_BURST": "1000000"}
"""Limits that nobody reaches, the most frequent user being every tenth request. All are counted."""

ALLOWED: Final = ("recommend", "events", "items")
TOKEN_S: Final = 86_400

COUNTERS: Final = {
    "fallbacks": "moerec_fallbacks_total",
    "pushes_failed": "moerec_event_pushes_failed_total",
}
"""What the gateway counts that no client sees well: name here -> name there."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one process: seconds of processor time so far, and resident bytes."""

    cpu_s: float
    rss_bytes: int


class Watched:
    """Processes under a supervisor, by name. ServiceError, with their last lines, once one was replaced."""

    def __init__(self, supervisor: Supervisor, target: Target, lines: deque[str]) -> None:
        self.target = target
        self._supervisor = supervisor
        self._lines = lines
        self.pids = {spec.name: supervisor.pid(spec.name) for spec in supervisor.specs}

    def usage(self) -> dict[str, Usage]:
        """What each process has used."""
        self.require_alive()
        found = {}
        for name, pid in self.pids.items():
            try:
                process = psutil.Process(pid)
                spent = process.cpu_times()
                found[name] = Usage(spent.user + spent.system, process.memory_info().rss)
            except psutil.NoSuchProcess:
                raise self._died(name) from None
        return found

    def require_alive(self) -> None:
        """Raises ServiceError if a process is not the one that was started."""
        for name, pid in self.pids.items():
            if pid is None or self._supervisor.pid(name) != pid or not psutil.pid_exists(pid):
                raise self._died(name)

    def _died(self, name: str) -> ServiceError:
        lines = "\n".join(f"  {line}" for line in self._lines) or "  (nothing)"
        return ServiceError(f"The {name} died under load.", f"The last lines were:\n{lines}")


class Service(Watched):
    """The gateway and the engine."""

    def __init__(
        self,
        supervisor: Supervisor,
        target: Target,
        lines: deque[str],
        engine: "EngineInfo",
        settings: Settings,
    ) -> None:
        super().__init__(supervisor, target, lines)
        self.engine_info = engine
        self.state_type, self.device = settings.state_type, settings.device

    def counters(self) -> dict[str, float]:
        """`COUNTERS` as they stand."""
        with Client(self.target) as client:
            text = client.text("/metrics")
        return {
            name: sum(
                map(float, re.findall(rf"^{there}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))
            )
            for name, there in COUNTERS.items()
        }


class EngineInfo:
    """Asks the engines what they say of themselves, by connections that stay."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._runner = asyncio.Runner()
        names = engine_names(len(addresses))
        self._clients = {
            name: self._runner.run(_client(address))
            for name, address in zip(names, addresses, strict=True)
        }

    def __call__(self) -> dict[str, dict[str, Any]]:
        """All fields of each one's answer, or why there is none."""
        return {name: self._ask(client) for name, client in self._clients.items()}

    def _ask(self, client: RemoteEngineClient) -> dict[str, Any]:
        try:
            reply = self._runner.run(_info(client))
        except EngineUnavailableError as error:
            return {"unavailable": error.message}
        return msgspec.structs.asdict(reply) if isinstance(reply, InfoReply) else {}

    def close(self) -> None:
        """Lets go of the connections."""
        for client in self._clients.values():
            self._runner.run(client.close())
        self._runner.close()


async def _info(client: RemoteEngineClient) -> Reply:
    return await client.ask(InfoRequest(), TIMEOUT_S)


async def _client(address: str) -> RemoteEngineClient:
    return RemoteEngineClient(address)


@contextmanager
def _guarded(plan: Plan) -> Iterator[str | None]:
    """Until the block ends the environment makes the service verify tokens and count requests by user.

    What the environment says already stays. Yields the token for the requests: the plan's own, or one
    for all users, signed with a secret that is made here.
    """
    secret = None if plan.target.token else f"{PREFIX}JWT_SECRET"
    more = {PREFIX + name: value for name, value in GENEROUS.items()}
    more |= {secret: token_hex(32)} if secret else {}
    added = {name: value for name, value in more.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield (
            signed(os.environ[secret], "bench", ALLOWED, TOKEN_S, {})
            if secret
            else plan.target.token
        )
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def serving(plan: Plan, bundle: Path, database_url: str, memo: bool = True) -> Iterator[Service]:
    """`moerec serve` on the store until the block ends, its engines with or without their memo of query rows.
    Other settings are those of the environment.

    Raises what keeps it from starting (UsageError for a port in use), and ServiceError when it breaks.
    """
    lines: deque[str] = deque(maxlen=LAST_LINES)
    port = plan.target.port or next_free(HOST, 0)
    settings = Settings.load(
        bundle=bundle, database_url=database_url, host=HOST, port=port, taste_memo=memo
    )
    check(settings)
    with _guarded(plan) as token, private_socket(settings) as settings:
        supervisor = make_supervisor(
            settings, lines.append, lambda name, line: lines.append(f"{name:<7} | {line}")
        )
        with (
            BackgroundService(supervisor),
            closing(EngineInfo(settings.engine_addresses)) as engine,
        ):
            yield Service(supervisor, Target(HOST, port, token), lines, engine, settings)


@contextmanager
def ceiling(plan: Plan, size: int) -> Iterator[Watched]:
    """The bare application with answers of `size` bytes, until the block ends."""
    lines: deque[str] = deque(maxlen=LAST_LINES)
    port = plan.target.port or next_free(HOST, 0)
    require_free(HOST, port)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    spec = ChildSpec("ceiling", "moerec.loadtest.ceiling", (str(port), str(size)), environment)
    supervisor = Supervisor(
        [spec],
        lambda: http_ready(HOST, port),
        lines.append,
        lambda name, line: lines.append(f"{name:<7} | {line}"),
    )
    with BackgroundService(supervisor):
        yield Watched(supervisor, Target(HOST, port, plan.target.token), lines)


class Client:
    """One kept connection to the service, for the requests whose answers are looked at one by one."""

    def __init__(self, target: Target) -> None:
        self._headers: Mapping[str, str] = target.headers()
        self._connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_S)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def text(self, path: str) -> str:
        """GET; ServiceError unless it is a 2xx."""
        return self._exchange("GET", path, None).decode()

    def get(self, path: str) -> bytes:
        """GET; ServiceError unless it is a 2xx."""
        return self._exchange("GET", path, None)

    def post(self, path: str, body: object) -> bytes:
        """POST of JSON; ServiceError unless it is a 2xx."""
        return self._exchange("POST", path, json.dumps(body))

    def put(self, path: str, body: object) -> bytes:
        """PUT of JSON; ServiceError unless it is a 2xx."""
        return self._exchange("PUT", path, json.dumps(body))

    def _exchange(self, method: str, path: str, body: str | None) -> bytes:
        more = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self._connection.request(method, path, body, {**self._headers, **more})
            response = self._connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceError(f"{method} {path} got no answer: {error}.") from error
        if response.status // 100 != 2:
            raise ServiceError(
                f"{method} {path} was answered with {response.status}.", data.decode()
            )
        return data

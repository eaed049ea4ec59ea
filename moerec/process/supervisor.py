"""Keeps child processes alive: starts them, restarts the dead, stops them in order."""

import http.client
import signal
import threading
import time
from collections.abc import Callable, Sequence

from moerec.errors import ServiceError
from moerec.process.children import Child, ChildSpec, RestartPolicy

POLL_S = 0.05
PROBE_S = 0.1
REFUSED_EXIT = 2
"""A child that ends so has refused its settings or its bundle; starting it again would not help."""
KILLED_PAUSE_S = 2.0
"""Between starts of a child that is killed from outside again and again."""


class Supervisor:
    """Children from start to stop. `say` gets news for the user, `hear` the children's own lines.

    Children are stopped in the order in which they are given.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        is_ready: Callable[[], bool],
        say: Callable[[str], None],
        hear: Callable[[str, str], None],
    ) -> None:
        self._children = [Child(spec, hear) for spec in specs]
        self._policies = [RestartPolicy() for _ in specs]
        self._due: list[float | None] = [None for _ in specs]
        self._is_ready = is_ready
        self._say = say
        self._stopping = threading.Event()
        self._ready = threading.Event()

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Keep the children alive until `stop`; raises ServiceError when one cannot be kept alive.

        All children are gone when it returns or raises.
        """
        next_probe = 0.0
        try:
            for child in self._children:
                child.start()
            while not self._stopping.wait(POLL_S):
                for place in range(len(self._children)):
                    self._tend(place)
                if not self._ready.is_set() and time.monotonic() >= next_probe:
                    if self._is_ready():
                        self._ready.set()
                        on_ready()
                    next_probe = time.monotonic() + PROBE_S
        finally:
            for child in self._children:
                child.stop()

    def stop(self) -> None:
        """Ask `run` to stop the children and return; may be called from any thread or signal handler."""
        self._stopping.set()

    @property
    def specs(self) -> list[ChildSpec]:
        """What the children are, in the order in which they are stopped."""
        return [child.spec for child in self._children]

    def pid(self, name: str) -> int | None:
        """Process id of the child of that name."""
        return next(child.pid for child in self._children if child.spec.name == name)

    def _tend(self, place: int) -> None:
        child, due = self._children[place], self._due[place]
        if due is not None:
            if time.monotonic() >= due:
                self._due[place] = None
                child.start()
            return
        code = child.exit_code()
        if code is None:
            return
        name = child.spec.name
        if code == REFUSED_EXIT and not self._ready.is_set():
            raise ServiceError(f"The {name} refused to start.", _quote(child))
        pause = self._policies[place].pause_after_death(time.monotonic())
        if pause is None and code < 0 and self._ready.is_set():
            # Killed from outside, after it had worked: the gateway answers meanwhile, so keep trying.
            pause = KILLED_PAUSE_S
        if pause is None:
            raise ServiceError(
                f"The {name} keeps dying ({_cause(code)}); giving up.", _quote(child)
            )
        self._say(f"The {name} died ({_cause(code)}). It starts again in {pause:.1f} s.")
        self._due[place] = time.monotonic() + pause


def http_ready(host: str, port: int, path: str = "/readyz") -> bool:
    """Whether `path` answers 200."""
    connection = http.client.HTTPConnection(host, port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name}"


def _quote(child: Child) -> str:
    lines = list(child.last_lines) or ["(it wrote nothing)"]
    return "\n".join(["Its last lines were:", *(f"  {line}" for line in lines)])

"""One child process of the supervisor: start it, hear it, count its deaths, stop it."""

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

LAST_LINES = 20
STOP_S = 5.0
"""Time in which a child that has nothing under way ends after SIGTERM."""


@dataclass(frozen=True)
class ChildSpec:
    """What to run: `python -m MODULE ARGUMENTS` with this environment. `name` is for people.

    It has `stop_s` seconds between SIGTERM and SIGKILL. Another `python` than ours must find
    `moerec.process.child` by that environment; it needs nothing but the standard library.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    stop_s: float = STOP_S
    python: str = sys.executable


class Child:
    """A process that is started as often as needed. `hear` gets each line it writes, from a thread."""

    def __init__(self, spec: ChildSpec, hear: Callable[[str, str], None]) -> None:
        self.spec = spec
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._hear = hear
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the latest start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process in a session of its own, so that a terminal's Ctrl-C goes to the parent alone."""
        command = [
            self.spec.python,
            "-m",
            "moerec.process.child",
            self.spec.module,
            *self.spec.arguments,
        ]
        process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.spec.environment),
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
        self._process = process
        self.last_lines.clear()
        self._reader = threading.Thread(
            target=self._listen, args=(process,), name=f"{self.spec.name}-output", daemon=True
        )
        self._reader.start()

    def exit_code(self) -> int | None:
        """None while it runs; negative after a signal. All it wrote has been heard when it is not None."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None and self._reader is not None:
            self._reader.join(timeout=1.0)
            if self._process.stdin is not None:
                self._process.stdin.close()
        return code

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after the spec's `stop_s` seconds; returns when the process is gone."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(self.spec.stop_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.exit_code()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        with process.stdout as lines:
            for line in lines:
                self.last_lines.append(line.rstrip("\n"))
                self._hear(self.spec.name, line.rstrip("\n"))


class RestartPolicy:
    """Counts one child's deaths: when to start it again, and when to give up."""

    def __init__(self, limit: int = 5, window_s: float = 30.0, first_pause_s: float = 0.1) -> None:
        self._limit = limit
        self._window_s = window_s
        self._first_pause_s = first_pause_s
        self._times: deque[float] = deque()

    def pause_after_death(self, now: float | None = None) -> float | None:
        """Count a death; the pause before the next start in seconds, doubling, or None to give up."""
        now = time.monotonic() if now is None else now
        self._times.append(now)
        while now - self._times[0] > self._window_s:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return None
        return self._first_pause_s * 2.0 ** (len(self._times) - 1)

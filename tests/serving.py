"""`moerec serve` as a test meets it: real processes, real HTTP."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
START_S = 90.0


@dataclass
class Served:
    """A running service."""

    process: subprocess.Popen[str]
    port: int

    def get(self, path: str) -> dict[str, Any]:
        """The JSON body of a 2xx."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: object) -> dict[str, Any]:
        """The JSON body of a 2xx."""
        return self._ask("POST", path, json.dumps(body))

    def put(self, path: str, body: object) -> dict[str, Any]:
        """The JSON body of a 2xx."""
        return self._ask("PUT", path, json.dumps(body))

    def delete(self, path: str) -> dict[str, Any]:
        """The JSON body of a 2xx."""
        return self._ask("DELETE", path, None)

    def child(self, module: str) -> psutil.Process:
        """The living child that runs a module."""
        (found,) = self.children(module)
        return found

    def children(self, module: str) -> list[psutil.Process]:
        """The living children that run a module."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if module in command_line(child)
        ]

    def text(self, path: str) -> str:
        """The body of a 2xx to GET."""
        return self._body("GET", path, None)

    def _ask(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._body(method, path, body))
        return answer

    def _body(self, method: str, path: str, body: str | None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"content-type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read().decode()
            assert response.status // 100 == 2, f"{method} {path}: {response.status} {data}"
            return data
        finally:
            connection.close()


def command_line(process: psutil.Process) -> list[str]:
    """Of a living process; empty when it has died, be it between two looks at it."""
    try:
        return [] if process.status() == psutil.STATUS_ZOMBIE else process.cmdline()
    except psutil.NoSuchProcess:  # also a ZombieProcess
        return []


def moerec(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Starts `python -m moerec ...` from this tree, in a process group of its own."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MOEREC_")
    }
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
    command = [sys.executable, "-m", "moerec", *arguments]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        env=environment,
        **options,
    )


@contextmanager
def serving(bundle: Path, database_url: str, log: Path, **settings: str) -> Iterator[Served]:
    """The service until the end of the block; then SIGTERM, and exit code 0 is asserted.

    What the processes write goes to the file `log`. A process that is gone at the end is left alone.
    """
    process = moerec(
        "serve",
        "--bundle",
        str(bundle),
        "--port",
        "0",
        "--database-url",
        database_url,
        env=settings,
    )
    with process, log.open("w") as file:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                if line.startswith("Serving http://"):
                    port = int(line.split()[1].rpartition(":")[2])
                    break
            else:
                raise AssertionError(f"the service did not start:\n{log.read_text()}")
            yield Served(process, port)
            if process.poll() is None:
                process.terminate()
                assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()
            file.writelines(process.stdout)


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)

"""The other processes of a training on one machine: started, joined with, and ended by the first.

    `moerec train` --starts--> `python -m moerec.training.workers PORT RANK SIZE`, SIZE - 1 times
                   <--gloo on the loopback interface--> shares of steps (`distributed.py`)

They say nothing on the terminal: what they write is kept, and shown if one ends before its time. They live
no longer than the first process, however that ends: it holds the other end of their standard input.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from moerec.artifacts.checkpoint import checkpoint_path
from moerec.errors import DistributedError, MoerecError
from moerec.training.distributed import ALONE, STEP_TIMEOUT, Group, joined_here
from moerec.training.fit import FitOptions, assist_fit
from moerec.training.interrupt import TrainingInterrupted

HOST: Final = "127.0.0.1"

LEAVE_S: Final = 5.0
"""How long a process may take to end after its last step, or to be seen dead after its connections."""

POLL_S: Final = 0.02

LAST_LINES: Final = 20
"""So much of what a process wrote is shown if it ends before its time."""


@contextmanager
def with_workers(
    number: int, out: Path, options: FitOptions, group: Group = ALONE
) -> Iterator[Group]:
    """The group of this process, its first, and `number` - 1 new ones that assist in training `out`.

    With a `number` of 1 it is `group`. The new ones have ended when this is left. DistributedError if
    one does before.
    """
    if number == 1:
        yield group
        return
    store = TCPStore(HOST, 0, number, is_master=True, timeout=STEP_TIMEOUT, wait_for_workers=False)
    workers: list[_Worker] = []
    try:
        for rank in range(1, number):
            workers.append(_Worker(store.port, rank, number))
        _await(store, workers)
        with _on_loopback(), joined_here(store, 0, number) as joined:
            joined.from_first(lambda: (out, options))
            yield joined
        for worker in workers:
            worker.wait(LEAVE_S)
    except DistributedError as error:
        raise _explained(error, workers, out) from error
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """One process, with an end of its standard input and all that it writes."""

    def __init__(self, port: int, rank: int, size: int) -> None:
        self.rank = rank
        self._written = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", __spec__.name, str(port), str(rank), str(size)],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdin=subprocess.PIPE,
            stdout=self._written,
            stderr=self._written,
            # A terminal's Ctrl-C is for the first process alone: it tells the others when to stop.
            start_new_session=True,
        )

    def wait(self, seconds: float = 0.0) -> int | None:
        """The exit code, negative after a signal; None if it still runs after so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def last_words(self) -> str:
        """The end of what it wrote."""
        self._written.seek(0)
        lines = self._written.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LAST_LINES:])

    def end(self) -> None:
        """By force if need be: it has nothing to lose, since the first process alone writes."""
        self._process.kill()
        with self._process, self._written:
            pass


def _await(store: TCPStore, workers: list[_Worker]) -> None:
    """Until all are there. Not by joining at once, which would not notice that one has died."""
    deadline = time.monotonic() + STEP_TIMEOUT.total_seconds()
    while not store.check([_here(worker.rank) for worker in workers]):
        if any(worker.wait() is not None for worker in workers):
            raise DistributedError("a process of this training has ended as it started")
        if time.monotonic() > deadline:
            raise DistributedError(
                f"the other processes of this training have not started in {STEP_TIMEOUT}",
                "Train on one: --processes 1.",
            )
        time.sleep(POLL_S)


def _explained(error: DistributedError, workers: list[_Worker], out: Path) -> DistributedError:
    """Which worker has ended, and what it wrote; the `error` itself if none has."""
    deadline = time.monotonic() + LEAVE_S
    # Its connections close before it can be seen to be dead. Those that only lost another end with 0.
    while not (dead := [worker for worker in workers if worker.wait()]):
        if time.monotonic() > deadline:
            return error
        time.sleep(POLL_S)
    code, words = dead[0].wait() or 0, dead[0].last_words()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    memory = " (where memory is short, the system does that)" if code == -signal.SIGKILL else ""
    message = f"process {dead[0].rank} of this training {how}{memory}"
    again = "Go on with --resume" if checkpoint_path(out).exists() else "Train again"
    return DistributedError(
        f"{message}\n{words}" if words else message,
        f"{again}; --processes 1 does without other processes.",
    )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Gloo talks over the interface that no other machine sees."""
    name = "GLOO_SOCKET_IFNAME"
    before = os.environ.get(name)
    loopback = [each for _, each in socket.if_nameindex() if each.startswith("lo")]
    if loopback:
        os.environ[name] = loopback[0]
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _here(rank: int) -> str:
    """The store's key that a process sets when it is about to join."""
    return f"here/{rank}"


def main() -> int:
    """A worker. 0 too if the others have gone: who ended first has the reason."""
    threading.Thread(target=_end_with_first, name="first-process-watch", daemon=True).start()
    port, rank, size = map(int, sys.argv[1:])
    try:
        store = TCPStore(HOST, port, size, is_master=False, timeout=STEP_TIMEOUT)
        store.set(_here(rank), "")
        with _on_loopback(), joined_here(store, rank, size) as group:
            out, options = group.from_first(lambda: (Path(), FitOptions()))
            assist_fit(None, out, options=options, group=group)
    except (DistributedError, TrainingInterrupted):
        return 0
    except MoerecError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _end_with_first() -> None:
    # os.read and not sys.stdin: a daemon thread inside a buffered reader aborts interpreter shutdown.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

"""A served bundle behind a program that has other things to do."""

import os
import signal
import threading
from types import TracebackType
from typing import Any

from moerec.errors import MoerecError, ServiceError
from moerec.process.supervisor import Supervisor

READY_S = 120.0


class BackgroundService:
    """Runs a supervisor in a thread: `with BackgroundService(supervisor): ...` serves inside the block.

    If the service breaks for good inside the block, the main thread gets a KeyboardInterrupt, which wakes it
    from waiting for input too, and the block ends with the ServiceError that says why.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._ready_or_broken = threading.Event()
        self._error: MoerecError | None = None
        self._leaving = False
        self._before: Any = signal.SIG_DFL
        self._thread = threading.Thread(target=self._run, name="supervisor")

    def __enter__(self) -> "BackgroundService":
        """Returns when the service is ready; raises ServiceError if it does not get so far."""
        # A program that a script starts with `&` ignores SIGINT, unless it says what to do with it.
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self._thread.start()
        try:
            in_time = self._ready_or_broken.wait(READY_S)
        except BaseException:
            self._end()
            raise
        if self._error is not None or not in_time:
            self._end()
            raise self._error or ServiceError(f"The service was not ready within {READY_S:.0f} s.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leaving = True
        self._end()
        if self._error is not None:
            raise self._error from error

    def _end(self) -> None:
        self._supervisor.stop()
        self._thread.join()
        signal.signal(signal.SIGINT, self._before)

    def _run(self) -> None:
        try:
            self._supervisor.run(self._ready_or_broken.set)
        except MoerecError as error:
            self._error = error
            if self._ready_or_broken.is_set() and not self._leaving:
                os.kill(os.getpid(), signal.SIGINT)
            self._ready_or_broken.set()

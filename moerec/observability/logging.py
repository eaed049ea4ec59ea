"""Log lines as JSON objects, one a line, each with the request it belongs to."""

import contextvars
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

request_id: Final[contextvars.ContextVar[str | None]] = contextvars.ContextVar(
    "request_id", default=None
)
"""The request that the current task works on."""


@contextmanager
def as_request(own_id: str | None) -> Iterator[None]:
    """What is done and begun inside is done for this request: who calls works for many of them."""
    token = request_id.set(own_id)
    try:
        yield
    finally:
        request_id.reset(token)


class JsonFormatter(logging.Formatter):
    """`{"time": ..., "level": ..., "logger": ..., "message": ..., "request_id": ..., "exception": ...}`.

    `request_id` and `exception` stand only where there is one. Times are UTC.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (current := request_id.get()) is not None:
            line["request_id"] = current
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class SparingLog:
    """Warnings that callers can cause as often as they like: at most `most` a second are written, and the
    next one after that says how many were left out. For one thread; `now` gives seconds."""

    def __init__(
        self, logger: logging.Logger, most: int = 10, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._most = most
        self._now = now
        self._second = 0
        self._written = 0
        self._left_out = 0

    def warning(self, text: str, *values: object) -> None:
        """As `logging.Logger.warning`."""
        second = int(self._now())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self._most:
            self._left_out += 1
            return
        self._written += 1
        if self._left_out:
            text += " (%d lines before this one were left out)"
            values = (*values, self._left_out)
            self._left_out = 0
        self._logger.warning(text, *values)


def configure_logging(level: str) -> None:
    """Sends all log lines of this process to standard error as JSON. `level`: debug, info, ..."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        server = logging.getLogger(name)
        server.handlers.clear()
        server.propagate = True

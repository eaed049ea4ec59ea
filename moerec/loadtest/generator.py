"""Our own load generator: one process, one thread, raw HTTP over asyncio.

Closed loop: each connection asks again as soon as it has its answer. Open loop: requests are due at moments
that were drawn before, whatever the server does; one that finds no connection free waits, and its latency
counts from the moment it was due.

    python -m moerec.loadtest.generator JOB_FILE RESULT_FILE
"""

import asyncio
import random
import signal
import sys
import time
from array import array
from collections import Counter, deque
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from moerec.loadtest.connection import Connection
from moerec.loadtest.plan import Target
from moerec.loadtest.requests import Ask, raw_request, read_asks

PATIENCE_S: Final = 5.0
"""How long answers are waited for after the last request."""

TICK_S: Final = 0.001
"""How often the open loop looks for requests that are due: the finest step of the event loop's clock."""

NO_FALLBACK: Final = b'"fallback":null'


class Job(msgspec.Struct, frozen=True):
    """One load. `rate` is requests a second of an open loop, None for a closed one.

    A closed loop ends after `seconds`, or with `once` when each request of the file was made. Of
    `keep_every` lists one is kept whole in the result, to be looked at later; 0 keeps none.
    """

    asks: str
    host: str
    port: int
    token: str | None
    k: int
    connections: int
    seconds: float
    rate: float | None = None
    once: bool = False
    keep_every: int = 0
    seed: int = 0


class Kept(msgspec.Struct, frozen=True):
    """A list as it came: whose, and the body."""

    user: str
    body: bytes


class Result(msgspec.Struct):
    """What came of a job.

    `latencies_ms` are float64s of all answers, those with an error status included; `late_ms` are, for an
    open loop, how long after its due time each request was sent. `seconds` is from the first request to
    the last answer, `unanswered` requests got none, `lost` are connections that broke.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    statuses: dict[int, int] = {}
    fallbacks: int = 0
    unanswered: int = 0
    lost: int = 0
    reason: str = ""
    latencies_ms: bytes = b""
    late_ms: bytes = b""
    kept: list[Kept] = []


class Load:
    """What both loops share: requests, connections, and the count of what came back."""

    def __init__(self, job: Job, asks: list[Ask]) -> None:
        target = Target(job.host, job.port, job.token)
        self._job = job
        self._asks = asks
        self._requests = [raw_request(ask, target, job.k) for ask in asks]
        self._latencies = array("d")
        self._late = array("d")
        self._statuses: Counter[int] = Counter()
        self._result = Result()
        self._next = 0
        self._waiting = 0
        self._open: set[Connection] = set()
        self._done = asyncio.Event()
        self._last_answer = 0.0

    async def run(self) -> Result:
        """The whole load; ConnectionError if nobody listens."""
        loop = asyncio.get_running_loop()
        for _ in range(self._job.connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self._on_answer, self._on_lost), self._job.host, self._job.port
            )
            self._open.add(connection)
        cpu, start = time.process_time(), time.perf_counter()
        await self._drive(start)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._waiting and self._open:
                    self._done.clear()
                    await self._done.wait()
        except TimeoutError:
            self._result.reason = self._result.reason or f"no answer within {PATIENCE_S:.0f} s"
        for connection in self._open:
            connection.close()
        self._result.cpu_s = time.process_time() - cpu
        self._result.seconds = max(self._last_answer, time.perf_counter() - PATIENCE_S) - start
        self._result.unanswered += self._waiting
        self._result.statuses = dict(self._statuses)
        self._result.latencies_ms = self._latencies.tobytes()
        self._result.late_ms = self._late.tobytes()
        return self._result

    async def _drive(self, start: float) -> None:
        raise NotImplementedError

    def _free(self, connection: Connection, now: float) -> None:
        raise NotImplementedError

    def _send(self, connection: Connection, begun: float) -> None:
        connection.begun = begun
        connection.place = self._next
        self._next = (self._next + 1) % len(self._requests)
        self._waiting += 1
        connection.send(self._requests[connection.place])

    def _on_answer(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.perf_counter()
        self._last_answer = now
        self._waiting -= 1
        self._statuses[status] += 1
        self._latencies.append((now - connection.begun) * 1e3)
        ask = self._asks[connection.place]
        if ask.is_read and status == 200:
            if NO_FALLBACK not in body:
                self._result.fallbacks += 1
            elif self._job.keep_every and len(self._latencies) % self._job.keep_every == 0:
                self._result.kept.append(Kept(ask.user, body))
        self._free(connection, now)
        if not self._waiting:
            self._done.set()

    def _on_lost(self, connection: Connection, reason: str) -> None:
        self._open.discard(connection)
        self._result.lost += 1
        self._result.reason = self._result.reason or reason
        if not self._open:
            self._done.set()


class ClosedLoop(Load):
    """Every connection always has one request under way, until the time is over."""

    _end = 0.0
    _left: int | None = None

    async def _drive(self, start: float) -> None:
        self._end = start + self._job.seconds
        self._left = len(self._asks) if self._job.once else None
        for connection in self._open.copy():
            self._free(connection, time.perf_counter())
        while self._open and self._left != 0 and time.perf_counter() < self._end:
            await asyncio.sleep(0.05)

    def _free(self, connection: Connection, now: float) -> None:
        if now >= self._end or self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        self._send(connection, now)


class OpenLoop(Load):
    """Requests come at the moments of a Poisson process."""

    def __init__(self, job: Job, asks: list[Ask]) -> None:
        super().__init__(job, asks)
        rate, draw = job.rate or 1.0, random.Random(job.seed)
        gaps = (draw.expovariate(rate) for _ in range(round(rate * job.seconds)))
        self._due = deque(accumulate(gaps))
        self._queue: deque[float] = deque()
        self._idle: list[Connection] = []

    async def _drive(self, start: float) -> None:
        self._idle = list(self._open)
        while (self._due or self._queue) and self._open:
            now = time.perf_counter()
            while self._due and start + self._due[0] <= now:
                self._queue.append(start + self._due.popleft())
            while self._queue and self._idle:
                self._free(self._idle.pop(), now)
            if now - start > self._job.seconds + PATIENCE_S:
                break
            await asyncio.sleep(TICK_S)
        self._result.unanswered = len(self._queue) + len(self._due)
        # They are given up: who becomes free now would send them, and they would count twice.
        self._queue.clear()

    def _free(self, connection: Connection, now: float) -> None:
        if not self._queue:
            self._idle.append(connection)
            return
        due = self._queue.popleft()
        self._late.append((now - due) * 1e3)
        self._send(connection, due)

    def _on_lost(self, connection: Connection, reason: str) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        super()._on_lost(connection, reason)


async def generate(job: Job) -> Result:
    """Carry the job out."""
    kind = ClosedLoop if job.rate is None else OpenLoop
    return await kind(job, read_asks(Path(job.asks))).run()


def main() -> int:
    """A job from a file to its result in another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's business
    job_file, result_file = map(Path, sys.argv[1:3])
    job = msgspec.json.decode(job_file.read_bytes(), type=Job)
    try:
        result = uvloop.run(generate(job))
    except OSError as error:
        sys.stderr.write(f"{job.host}:{job.port}: {error}\n")
        return 1
    result_file.write_bytes(msgspec.msgpack.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())

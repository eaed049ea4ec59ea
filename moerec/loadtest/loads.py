"""One load from start to figures: generator started, processes watched, everything counted."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from moerec.errors import ServiceError, UsageError
from moerec.loadtest import wrk
from moerec.loadtest.generator import Job, Kept, Result
from moerec.loadtest.plan import Mix, Plan
from moerec.loadtest.requests import Ask, write_asks
from moerec.loadtest.service import Service, Watched
from moerec.loadtest.traffic import draw_asks

KEEP_EVERY: Final = 100
"""Of so many lists under load one is looked at."""

ONCE_S: Final = 3600.0
"""The most that a list of requests may take."""

CHECK_S: Final = 0.25
"""How often the processes are looked after under load."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one load.

    `rate` is what was offered, requests a second, None in a closed loop. `percentiles_ms` are p50, p90,
    p99, p99.9, mean and max. `errors` by kind, only those that are not 0. `cpu_us` is processor time a
    request by process, the generator's too; `rss_bytes` is memory at the end. `late_ms` is the p99 of how
    late an open loop sent. `engine` is what each engine says of itself afterwards, `engine_work` by how much
    what it counts has grown.
    """

    name: str
    generator: str
    mix: Mix
    seconds: float
    requests: int
    percentiles_ms: dict[str, float]
    errors: dict[str, int]
    cpu_us: dict[str, float]
    rss_bytes: dict[str, int]
    rate: float | None = None
    late_ms: float | None = None
    counters: dict[str, float] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    engine_work: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Answered requests."""
        return self.requests / max(self.seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"requests_per_second": self.per_second}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a generator says, whichever it was."""

    requests: int
    seconds: float
    percentiles_ms: dict[str, float]
    errors: dict[str, int]
    cpu_s: float
    late_ms: float | None = None
    kept: Sequence[Kept] = ()


class Loads:
    """Makes loads on a service (or a ceiling) with the plan's requests; `scratch` holds their files."""

    def __init__(self, plan: Plan, catalogue: Sequence[str], scratch: Path) -> None:
        self._plan = plan
        self._catalogue = catalogue
        self._scratch = scratch
        self._phase = 0
        self.kept: list[Kept] = []

    @property
    def closed_generator(self) -> str:
        """Which one makes closed loops: "wrk" or "own"."""
        if self._plan.generator != "auto":
            return self._plan.generator
        return "wrk" if wrk.find_wrk() else "own"

    def closed(self, watched: Watched, name: str, mix: Mix, seconds: float) -> Measured:
        """As much as the connections can take."""
        asks = self._asks(mix)
        if self.closed_generator == "own":
            job = self._job(watched, asks, seconds)
            return self._measured(watched, name, mix, "own", lambda: self._own(watched, job))
        return self._measured(watched, name, mix, "wrk", lambda: self._wrk(watched, asks, seconds))

    def open(self, watched: Watched, name: str, mix: Mix, rate: float, seconds: float) -> Measured:
        """Requests at a given rate, whatever comes back. One list of `KEEP_EVERY` goes to `kept`."""
        job = msgspec.structs.replace(
            self._job(watched, self._asks(mix), seconds), rate=rate, keep_every=KEEP_EVERY
        )
        return self._measured(watched, name, mix, "own", lambda: self._own(watched, job), rate)

    def once(self, watched: Watched, asks: Sequence[Ask]) -> Measured:
        """Each of some requests once, in their order."""
        path = self._scratch / "once.txt"
        write_asks(path, asks)
        job = msgspec.structs.replace(self._job(watched, path, ONCE_S), once=True)
        return self._measured(watched, "once", (1, 0), "own", lambda: self._own(watched, job))

    def _asks(self, mix: Mix) -> Path:
        self._phase += 1
        path = self._scratch / "asks.txt"
        write_asks(path, draw_asks(self._plan, mix, self._catalogue, self._phase))
        return path

    def _job(self, watched: Watched, asks: Path, seconds: float) -> Job:
        target, plan = watched.target, self._plan
        return Job(
            str(asks),
            target.host,
            target.port,
            target.token,
            plan.k,
            plan.connections,
            seconds,
            seed=plan.seed + self._phase,
        )

    def _measured(
        self,
        watched: Watched,
        name: str,
        mix: Mix,
        generator: str,
        generate: Callable[[], _Outcome],
        rate: float | None = None,
    ) -> Measured:
        counted, said = _said(watched)
        before = watched.usage()
        outcome = generate()
        after = watched.usage()
        self.kept += outcome.kept
        requests = max(outcome.requests, 1)
        cpu_s = {key: after[key].cpu_s - before[key].cpu_s for key in after}
        cpu_s["generator"] = outcome.cpu_s
        counts, says = _said(watched)
        return Measured(
            name=name,
            generator=generator,
            mix=mix,
            seconds=outcome.seconds,
            requests=outcome.requests,
            percentiles_ms=outcome.percentiles_ms,
            errors={kind: count for kind, count in outcome.errors.items() if count},
            cpu_us={key: 1e6 * spent / requests for key, spent in cpu_s.items()},
            rss_bytes={key: usage.rss_bytes for key, usage in after.items()},
            rate=rate,
            late_ms=outcome.late_ms,
            counters=_grown(counted, counts),
            engine=says,
            engine_work={
                name: _grown(said[name].get("counters", {}), says[name].get("counters", {}))
                for name in says
            },
        )

    def _own(self, watched: Watched, job: Job) -> _Outcome:
        job_file, result_file = self._scratch / "job.json", self._scratch / "result.msgpack"
        job_file.write_bytes(msgspec.json.encode(job))
        module = ("moerec.process.child", "moerec.loadtest.generator")
        said = _run(
            [sys.executable, "-m", *module, str(job_file), str(result_file)], watched.require_alive
        )
        if not result_file.exists():
            raise ServiceError("The load generator ended without a result.", said[-2000:])
        result = msgspec.msgpack.decode(result_file.read_bytes(), type=Result)
        result_file.unlink()
        return _of_result(result)

    def _wrk(self, watched: Watched, asks: Path, seconds: float) -> _Outcome:
        program = wrk.find_wrk()
        if program is None:
            raise UsageError("wrk is not installed.", "Install it, or use --generator own.")
        lua = self._scratch / "load.lua"
        lua.write_text(wrk.script(asks, watched.target, self._plan.k))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = wrk.command(program, lua, watched.target, self._plan.connections, seconds)
        found = wrk.parse(_run(command, watched.require_alive))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return _Outcome(found.requests, found.seconds, found.percentiles_ms, found.errors, spent)


def _said(watched: Watched) -> tuple[dict[str, float], dict[str, dict[str, Any]]]:
    """What the gateway counts, and what each engine says of itself; nothing of a ceiling."""
    if not isinstance(watched, Service):
        return {}, {}
    return watched.counters(), watched.engine_info()


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after if name in before}


def _of_result(result: Result) -> _Outcome:
    latencies = np.frombuffer(result.latencies_ms)
    late = np.frombuffer(result.late_ms)
    bad = {
        f"status {status}": count
        for status, count in sorted(result.statuses.items())
        if status // 100 != 2
    }
    return _Outcome(
        len(latencies),
        result.seconds,
        percentiles(latencies),
        bad | {"unanswered": result.unanswered, "connections lost": result.lost},
        result.cpu_s,
        float(np.percentile(late, 99)) if len(late) else None,
        result.kept,
    )


def percentiles(latencies_ms: NDArray[np.float64]) -> dict[str, float]:
    """p50, p90, p99, p99.9, mean and max; empty of nothing."""
    if not len(latencies_ms):
        return {}
    found = np.percentile(latencies_ms, wrk.PERCENTILES).tolist()
    named = {f"p{percent:g}": each for percent, each in zip(wrk.PERCENTILES, found, strict=True)}
    return named | {"mean": float(latencies_ms.mean()), "max": float(latencies_ms.max())}


def _run(command: list[str], check: Callable[[], None]) -> str:
    """What a generator writes until it ends; `check` is called meanwhile, and what it raises ends it."""
    # The other end is open until we are gone: `moerec.process.child` ends then.
    theirs, ours = os.pipe()
    process = subprocess.Popen(  # noqa: S603 - our own generator, or wrk, without a shell
        command,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            while True:
                try:
                    return process.communicate(timeout=CHECK_S)[0]
                except subprocess.TimeoutExpired:
                    check()
        finally:
            if process.poll() is None:
                process.kill()
            os.close(theirs)
            os.close(ours)

"""A service behind a program that does other things."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from moerec.errors import ServiceError
from moerec.process.background import BackgroundService
from moerec.process.children import ChildSpec
from moerec.process.supervisor import Supervisor

SpecMaker = Callable[..., ChildSpec]

SLEEPER = "import time; print('awake', flush=True); time.sleep(60)"


def supervise(spec: ChildSpec, ready: Callable[[], bool]) -> Supervisor:
    return Supervisor([spec], ready, lambda _: None, lambda *_: None)


def test_serves_inside_the_block_and_not_after_it(make_spec: SpecMaker) -> None:
    supervisor = supervise(make_spec("engine", SLEEPER), lambda: True)
    with BackgroundService(supervisor):
        pid = supervisor.pid("engine")
        assert pid is not None
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_error_of_the_block_stops_the_service_too(make_spec: SpecMaker) -> None:
    supervisor = supervise(make_spec("engine", SLEEPER), lambda: True)
    with pytest.raises(ZeroDivisionError), BackgroundService(supervisor):
        _ = 1 / 0
    pid = supervisor.pid("engine")
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_service_that_does_not_start_says_why(make_spec: SpecMaker) -> None:
    supervisor = supervise(make_spec("engine", "raise SystemExit(2)"), lambda: False)
    with (
        pytest.raises(ServiceError, match="The engine refused to start"),
        BackgroundService(supervisor),
    ):
        pytest.fail("it cannot have started")


def test_a_service_that_breaks_wakes_whoever_waits_for_input(make_spec: SpecMaker) -> None:
    """The main thread sits in input() or asleep: only a signal gets it out of there.

    In a program that was started with SIGINT ignored (a script's `&`) it used to sit there for ever.
    """
    started = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = "import time; time.sleep(0.1); raise SystemExit('out of memory')"
    supervisor = supervise(make_spec("engine", code), lambda: True)
    with (
        pytest.raises(ServiceError, match="The engine keeps dying") as caught,
        BackgroundService(supervisor),
    ):
        time.sleep(60)
    assert signal.signal(signal.SIGINT, before) is signal.SIG_IGN
    assert "out of memory" in caught.value.remedy
    assert time.monotonic() - started < 30

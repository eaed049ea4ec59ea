"""Child processes: their output, their end, and the count of their deaths."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moerec.process.children import Child, ChildSpec, RestartPolicy

SLEEPER = "import time; print('awake', flush=True); time.sleep(60)"


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """True too for a zombie that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_lines_and_exit_code_are_kept(make_spec: Callable[..., ChildSpec]) -> None:
    heard: list[tuple[str, str]] = []
    spec = make_spec(
        "teller", "import sys; print('arguments', *sys.argv[1:]); sys.exit(3)", "a", "b"
    )
    child = Child(spec, lambda name, line: heard.append((name, line)))
    assert child.exit_code() is None
    child.start()
    wait_until(lambda: child.exit_code() is not None)
    assert child.exit_code() == 3
    assert heard == [("teller", "arguments a b")]
    assert list(child.last_lines) == ["arguments a b"]


def test_stop_ends_a_child_in_good_time(make_spec: Callable[..., ChildSpec]) -> None:
    child = Child(make_spec("sleeper", SLEEPER), lambda *_: None)
    child.stop()
    child.start()
    wait_until(lambda: bool(child.last_lines))
    child.stop()
    assert child.exit_code() == -signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed(make_spec: Callable[..., ChildSpec]) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
    child = Child(replace(make_spec("stubborn", code), stop_s=0.2), lambda *_: None)
    child.start()
    wait_until(lambda: bool(child.last_lines))
    child.stop()
    assert child.exit_code() == -signal.SIGKILL


def test_no_orphan_when_the_parent_is_killed(
    make_spec: Callable[..., ChildSpec], tmp_path: Path
) -> None:
    """kill -9 of the parent leaves no time to stop anybody: the children notice by themselves."""
    spec = make_spec("sleeper", SLEEPER)
    code = """
import os, time
from moerec.process.children import Child, ChildSpec
child = Child(ChildSpec("sleeper", "sleeper", (), os.environ), lambda *_: None)
child.start()
while not child.last_lines:
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(spec.environment), text=True
    )
    with parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        assert not gone(orphan)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: gone(orphan))


def test_pauses_double_and_the_fifth_death_within_the_window_is_the_last() -> None:
    policy = RestartPolicy(limit=5, window_s=30.0, first_pause_s=0.1)
    pauses = [policy.pause_after_death(now) for now in (0.0, 1.0, 2.0, 3.0, 29.9)]
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert pauses[4] is None


def test_deaths_long_ago_do_not_count() -> None:
    policy = RestartPolicy(limit=5, window_s=30.0, first_pause_s=0.1)
    for now in (0.0, 1.0, 2.0, 3.0):
        policy.pause_after_death(now)
    assert policy.pause_after_death(32.5) == pytest.approx(0.2)

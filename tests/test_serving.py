"""The tests' own look at a service's processes."""

import subprocess
import sys

import psutil

from tests.serving import command_line, wait_until


def test_a_process_that_has_died_has_no_command_line() -> None:
    """A killed engine turned into a zombie between the two looks at it, and ended the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        looked_at = psutil.Process(process.pid)
        wait_until(lambda: "input()" in command_line(looked_at))
        process.kill()
        wait_until(lambda: looked_at.status() == psutil.STATUS_ZOMBIE)
        assert command_line(looked_at) == []
    assert command_line(looked_at) == []

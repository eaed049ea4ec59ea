"""`moerec demo` as a stranger runs it: real training, real processes, no terminal."""

import io
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from moerec.process.demo.prepare import DemoOptions, prepare
from moerec.process.demo.run import line_reader
from tests.serving import moerec


def run(folder: Path, *arguments: str, typed: str | None = None) -> tuple[int, str]:
    """Exit code and output of a demo that ends by itself."""
    with moerec(
        "demo", "--dir", str(folder), "--viewers", "60", "--epochs", "1", *arguments,
        stdin=subprocess.PIPE,
    ) as process:  # fmt: skip
        output, _ = process.communicate(typed, timeout=200)
        return process.returncode, output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a demo has been before: log and bundle are there."""
    folder = tmp_path_factory.mktemp("demo") / "known"
    prepare(DemoOptions(folder, viewers=60, epochs=1), Console(file=io.StringIO()))
    return folder


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_once_trains_serves_proves_and_ends(tmp_path: Path, busy_port: int) -> None:
    folder = tmp_path / "new"
    code, output = run(folder, "--once", "--port", str(busy_port))
    assert code == 0, output
    assert f"Port {busy_port} is in use; taking " in output
    assert "of 60 simulated viewers" in output
    assert output.count("$ curl -s 'http://127.0.0.1:") == 3
    assert "unknown_user: " in output
    assert '"status": "accepted", "number": 1' in output
    assert "experts awake: layer 1: " in output
    assert output.rstrip().endswith("Stopped.")
    # Ours alone: another moerec may run on the same machine.
    environments = (p.info["environ"] or {} for p in psutil.process_iter(["environ"]))
    assert not [e for e in environments if e.get("MOEREC_BUNDLE", "").startswith(str(folder))]


@pytest.mark.slow
def test_lines_from_a_pipe_are_a_script(folder: Path) -> None:
    """Where a demo has been before, nothing is trained again."""
    code, output = run(folder, "--port", "0", typed="heat\nlist\nquit\n")
    assert code == 0, output
    assert "Training" not in output
    assert "film> heat" in output
    assert "Watched Heat (1995)" in output
    assert output.rstrip().endswith("Stopped.")


@pytest.mark.slow
def test_without_input_it_serves_until_ctrl_c(folder: Path) -> None:
    """Ctrl-C right behind the announcement used to be lost, now and then, and the demo served on."""
    with moerec("demo", "--dir", str(folder), "--port", "0", stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith("Serving until Ctrl-C"):
                break
        assert process.poll() is None, output
        children = psutil.Process(process.pid).children()
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in output + rest
    assert rest.endswith("Stopped.\n")
    assert len(children) == 2
    assert not [child for child in children if child.is_running()]


def test_a_terminal_is_prompted_and_ctrl_d_ends() -> None:
    ours, theirs = pty.openpty()
    output = io.StringIO()
    with open(theirs) as terminal, open(ours, "w") as keyboard:
        read = line_reader(terminal, Console(file=output))
        keyboard.write("heat\n\x04")
        keyboard.flush()
        assert read() == "heat\n"
        assert read() is None
    assert output.getvalue().count("film> ") == 2

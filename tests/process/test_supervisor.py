"""The supervisor: readiness, restarts, giving up, and stopping in order."""

import http.server
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moerec.errors import ServiceError
from moerec.process.children import ChildSpec
from moerec.process.supervisor import Supervisor, http_ready

SpecMaker = Callable[..., ChildSpec]

SLEEPER = "import time; print('awake', flush=True); time.sleep(60)"
NOTES_ITS_END = """
    import pathlib, signal, sys, time
    def note(*_):
        with open(sys.argv[1], "a") as file:
            file.write(pathlib.Path(sys.argv[0]).stem + "\\n")
        sys.exit(0)
    signal.signal(signal.SIGTERM, note)
    print("awake", flush=True)
    time.sleep(60)
"""


class Ear:
    """Hears what the supervisor says and what the children write."""

    def __init__(self) -> None:
        self.news: list[str] = []
        self.lines: list[str] = []

    def hear(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")


@contextmanager
def running(supervisor: Supervisor) -> Iterator[None]:
    """The supervisor in a thread, as the demo runs it."""
    ready = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        supervisor.stop()
        thread.join()


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_children_stop_in_the_order_given(make_spec: SpecMaker, tmp_path: Path) -> None:
    ear, notes = Ear(), tmp_path / "notes"
    specs = [make_spec(name, NOTES_ITS_END, str(notes)) for name in ("gateway", "engine")]
    with running(Supervisor(specs, lambda: len(ear.lines) == 2, ear.news.append, ear.hear)):
        assert sorted(ear.lines) == ["engine: awake", "gateway: awake"]
    assert notes.read_text().split() == ["gateway", "engine"]
    assert ear.news == []


def test_a_killed_child_comes_back_and_the_other_one_stays(make_spec: SpecMaker) -> None:
    ear = Ear()
    specs = [make_spec("gateway", SLEEPER), make_spec("engine", SLEEPER)]
    supervisor = Supervisor(specs, lambda: len(ear.lines) == 2, ear.news.append, ear.hear)
    with running(supervisor):
        gateway, engine = supervisor.pid("gateway"), supervisor.pid("engine")
        assert engine is not None
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: ear.lines.count("engine: awake") == 2)
        assert supervisor.pid("engine") != engine
        assert supervisor.pid("gateway") == gateway
    assert ear.news == ["The engine died (signal SIGKILL). It starts again in 0.1 s."]


def test_a_child_that_is_killed_again_and_again_still_comes_back(make_spec: SpecMaker) -> None:
    """Five kills within half a minute used to end the service, though the gateway could have gone on."""
    ear = Ear()
    specs = [make_spec("gateway", SLEEPER), make_spec("engine", SLEEPER)]
    supervisor = Supervisor(specs, lambda: len(ear.lines) >= 2, ear.news.append, ear.hear)
    with running(supervisor):
        for kills in range(1, 7):
            engine = supervisor.pid("engine")
            assert engine is not None
            os.kill(engine, signal.SIGKILL)
            wait_until(lambda wanted=kills + 1: ear.lines.count("engine: awake") == wanted)
    assert ear.news[-1] == "The engine died (signal SIGKILL). It starts again in 2.0 s."


def test_a_child_that_keeps_dying_ends_the_service_with_its_last_words(
    make_spec: SpecMaker,
) -> None:
    ear = Ear()
    specs = [
        make_spec("gateway", SLEEPER),
        make_spec("engine", "raise SystemExit('no more memory')"),
    ]
    supervisor = Supervisor(specs, lambda: False, ear.news.append, ear.hear)
    with pytest.raises(ServiceError, match=r"The engine keeps dying \(exit code 1\)") as caught:
        supervisor.run()
    assert caught.value.exit_code == 1
    assert "no more memory" in caught.value.remedy
    assert len(ear.news) == 4


def test_a_child_that_refuses_its_settings_is_not_started_again(make_spec: SpecMaker) -> None:
    ear = Ear()
    spec = make_spec("engine", "import sys; print('error: unknown setting'); sys.exit(2)")
    with pytest.raises(ServiceError, match="The engine refused to start") as caught:
        Supervisor([spec], lambda: False, ear.news.append, ear.hear).run()
    assert "error: unknown setting" in caught.value.remedy
    assert ear.news == []


def test_readiness_is_a_200_and_nothing_else() -> None:
    class Door(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 503)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with http.server.HTTPServer(("127.0.0.1", 0), Door) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever).start()
        assert http_ready("127.0.0.1", port)
        assert not http_ready("127.0.0.1", port, "/elsewhere")
        server.shutdown()
    assert not http_ready("127.0.0.1", port)

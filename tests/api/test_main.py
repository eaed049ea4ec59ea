"""The gateway as a process: its refusals, its end, and kill -9."""

import http.client
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from moerec.api.main import main
from moerec.store.sql import open_event_store
from tests.api.signing import SECRET, bearer
from tests.api.toy import toy_bundle
from tests.serving import moerec

ROOT = Path(__file__).parents[2]


def start(folder: Path, **settings: str) -> subprocess.Popen[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MOEREC_")
    }
    chosen = {
        "MOEREC_BUNDLE": str(folder / "bundle"),
        "MOEREC_DATABASE_URL": f"sqlite:///{folder}/events.db",
        "MOEREC_ENGINE_ADDRESS": f"unix:{folder}/engine.sock",
        "MOEREC_PORT": "0",
        "MOEREC_USER_RATE": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "moerec.api.main"],
        env=environment | {"PYTHONPATH": str(ROOT)} | chosen | settings,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def listening(
    folder: Path, **settings: str
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A gateway process without an engine, and a client for it."""
    process = start(folder, **settings)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"Listening on (http://[\d.:]+)", line):
                break
        else:
            pytest.fail("the gateway ended before it listened")
        with httpx.Client(base_url=found[1], timeout=10) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_bundle(tmp_path / "bundle")
    return tmp_path


def test_in_production_a_token_of_the_command_line_opens_it(folder: Path) -> None:
    """Two processes with nothing in common but the environment; SIGTERM ends the gateway cleanly."""
    production = {
        "MOEREC_ENVIRONMENT": "production",
        "MOEREC_JWT_SECRET": SECRET,
        "MOEREC_HOST": "0.0.0.0",  # noqa: S104
    }
    with moerec("token", "--sub", "app", "--user", "ann", env=production) as command:
        token = command.communicate(timeout=60)[0].strip()
    event = {"user_id": "ann", "item_id": "i1"}
    with listening(folder, **production) as (process, client):
        assert client.post("/v1/events", json=event).json()["code"] == "token_missing"
        assert client.get("/livez").status_code == 200
        client.headers.update(bearer(token))
        assert client.post("/v1/events", json=event).status_code == 202
        listed = client.get("/v1/users/ann/recommendations")
        assert (listed.status_code, listed.json()["fallback"] is None) == (200, False)
        assert client.get("/v1/users/bob/recommendations").json()["code"] == "forbidden"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        written = process.stderr.read()
    assert "Refused with 401 token_missing" in written
    assert SECRET not in written
    assert token not in written


def test_after_kill_9_every_acknowledged_event_is_in_the_table(folder: Path) -> None:
    acknowledged: dict[str, int] = {}
    for life in range(2):
        with listening(folder) as (process, client):
            killer = threading.Timer(0.1 + 0.1 * life, process.kill)
            for number in itertools.count():
                if number == 10:
                    killer.start()  # the events go on, and it dies somewhere among them
                batch = [
                    {
                        "event_id": f"{life}-{number}-{place}",
                        "user_id": f"u{place}",
                        "item_id": "i1",
                    }
                    for place in range(3)
                ]
                try:
                    answer = client.post("/v1/events", json={"events": batch})
                except httpx.TransportError:
                    break
                assert answer.status_code == 202
                for one in answer.json()["results"]:
                    acknowledged[one["event_id"]] = one["number"]
            killer.join()
    store = open_event_store(f"sqlite:///{folder}/events.db")
    stored = {one.event.event_id: one.user_number for one in store.since(0, 1_000_000)}
    store.close()
    assert len(acknowledged) >= 2 * 30
    assert {event_id: stored.get(event_id) for event_id in acknowledged} == acknowledged


def test_a_bundle_that_is_not_there_ends_the_start_with_one_clear_message(tmp_path: Path) -> None:
    process = start(tmp_path)
    _, message = process.communicate(timeout=20)
    assert process.returncode == 2
    assert message.startswith(f"error: {tmp_path}/bundle is not a bundle")
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MOEREC_HOST", "0.0.0.0", "set MOEREC_ENVIRONMENT=production"),  # noqa: S104
        ("MOEREC_ENVIRONMENT", "production", "set MOEREC_JWT_SECRET"),
        ("MOEREC_JWT_SECRET", "too short", "the secret has 9 bytes, 32 or more are needed"),
        ("MOEREC_PROT", "1", "Did you mean MOEREC_PORT?"),
    ],
)
def test_a_setting_that_cannot_work_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    reason: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert main() == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert reason in message


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(folder, MOEREC_PORT=str(port))
        _, message = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"Cannot listen on 127.0.0.1:{port}" in message


@pytest.mark.slow
def test_a_connection_may_be_idle_for_a_while(folder: Path) -> None:
    """After five seconds the gateway closed it, sometimes while the next request was on its way: that one was
    lost. Load balancers keep connections for a minute."""
    with listening(folder) as (_, client):
        line = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=10)
        with closing(line):
            line.connect()
            # It would open a new connection by itself where the old one was closed.
            line.auto_open = 0
            for pause_s in (0, 6):
                time.sleep(pause_s)
                line.request("GET", "/livez")
                with line.getresponse() as answer:
                    assert answer.status == 200
                    answer.read()

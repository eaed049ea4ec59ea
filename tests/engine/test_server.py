"""The engine as a process of its own."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moerec.artifacts.bundle import Bundle
from moerec.engine.server import main, remove_stale_socket, run
from moerec.errors import EngineUnavailableError, SettingsError
from moerec.settings import Settings
from moerec.store.sql import open_event_store
from moerec.transport.frames import (
    InfoReply,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
)
from moerec.transport.remote import RemoteEngineClient
from moerec.types import Event, ItemId, UserId
from tests.tiny import tiny_bundle

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def settings(bundle: Bundle, tmp_path: Path) -> Settings:
    return Settings.load(
        bundle=bundle.path,
        database_url=f"sqlite:///{tmp_path}/events.db",
        engine_address=f"unix:{tmp_path}/engine.sock",
    )


async def ask(settings: Settings, request: Request, patience_s: float = 30.0) -> Reply:
    """Asks until the engine is there."""
    client = RemoteEngineClient(settings.engine_address)
    try:
        return await ask_of(client, request, patience_s)
    finally:
        await client.close()


async def ask_of(client: RemoteEngineClient, request: Request, patience_s: float = 30.0) -> Reply:
    """Asks until the engine is there, by a connection that stays."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return await client.ask(request, timeout_s=2.0)
        except EngineUnavailableError:
            assert time.monotonic() < deadline, "the engine did not come"
            await asyncio.sleep(0.05)


async def served(settings: Settings) -> tuple[str, int]:
    """Version of the model and number of items."""
    reply = await ask(settings, InfoRequest())
    assert isinstance(reply, InfoReply)
    return reply.model_version, reply.items


@contextmanager
def engine_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MOEREC_BUNDLE": str(settings.bundle),
        "MOEREC_DATABASE_URL": settings.database_url,
        "MOEREC_ENGINE_ADDRESS": settings.engine_address,
    }
    command = [sys.executable, "-m", "moerec.engine.server"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


async def test_serves_until_sigterm_also_where_a_killed_engine_left_its_socket(
    settings: Settings, bundle: Bundle
) -> None:
    with engine_process(settings) as process:
        assert await served(settings) == (bundle.version, 40)
        process.kill()
    assert Path(settings.engine_address.removeprefix("unix:")).is_socket()
    with engine_process(settings) as process:
        assert await served(settings) == (bundle.version, 40)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0, log
        assert f"Model {bundle.version} (40 items) listens on unix:" in log


async def test_an_event_that_nobody_pushed_is_in_the_answer_within_two_seconds(
    settings: Settings,
) -> None:
    """A gateway that dies between commit and push leaves the event in the table alone."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(settings, stop))
    thread.start()
    store = open_event_store(settings.database_url)
    # One connection: a new one would have the engine look at once.
    client = RemoteEngineClient(settings.engine_address)
    try:
        request = RecommendRequest("anna", None, 40)
        store.append([Event("e1", UserId("anna"), ItemId("i1"), 1)])
        before = await ask_of(client, request)
        assert isinstance(before, ListReply)
        assert before.history_length == 1
        store.append([Event("e2", UserId("anna"), ItemId("i2"), 2)])
        committed = time.monotonic()
        while (reply := await client.ask(request, 2.0)) and isinstance(reply, ListReply):
            if reply.history_length == 2:
                break
            assert time.monotonic() - committed < 30, "the follower never came"
        assert "i2" not in reply.item_ids
    finally:
        await client.close()
        stop.set()
        thread.join()
        store.close()


@pytest.fixture
def _own_signals() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
def test_a_missing_bundle_is_told_and_ends_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOEREC_BUNDLE", str(tmp_path / "none"))
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/none is not a bundle")


def test_a_living_engine_keeps_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(path))
        living.listen()
        with pytest.raises(SettingsError, match="Another engine listens"):
            remove_stale_socket(f"unix:{path}")
    assert path.exists()
    remove_stale_socket(f"unix:{path}")
    assert not path.exists()


def test_an_engine_listens_on_one_address(settings: Settings) -> None:
    several = settings.model_copy(update={"engine_address": "unix:a, unix:b"})
    with pytest.raises(SettingsError, match="names 2 addresses"):
        run(several, threading.Event())


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "unix:nothing-here.sock"])
def test_where_there_is_no_socket_nothing_is_removed(address: str) -> None:
    remove_stale_socket(address)


def test_no_look_for_garbage_goes_through_all_users() -> None:
    """With many users at hand a full pass took tenths of a second, now and then: nobody was answered then."""
    script = """
import gc, weakref
from moerec.engine.server import GARBAGE_AFTER, calm_collector

class Cycle:
    pass

with calm_collector():
    users = [[number] for number in range(10 * GARBAGE_AFTER)]
    garbage = Cycle()
    garbage.itself, seen = garbage, weakref.ref(garbage)
    del garbage
    users += [[number] for number in range(2 * GARBAGE_AFTER)]
    assert seen() is None, "young garbage stays"
    looked_through = len(gc.get_objects())
    assert looked_through <= 2 * GARBAGE_AFTER, f"{looked_through} objects are looked through"
assert len(gc.get_objects()) > 10 * GARBAGE_AFTER
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


def test_an_index_that_is_being_made_spoils_no_exit() -> None:
    """After SIGTERM the process aborted, with code 134: its thread was cut off within torch."""
    script = """
import sys, threading
import torch
from moerec.engine.server import leave

torch.set_num_threads(1)
rows, busy = torch.randn(300, 300), threading.Event()

def work():
    while True:
        (rows @ rows).argsort()
        busy.set()

threading.Thread(target=work, daemon=True).start()
busy.wait()
print("the last line")
leave(3)
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, timeout=100, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (3, "the last line\n"), ended.stderr

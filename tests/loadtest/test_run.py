"""A whole run at a tiny size: the real service, both loops, every check; and what ends one early."""

import json
import os
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from moerec.artifacts.files import held
from moerec.errors import ServiceError, UsageError
from moerec.loadtest.checks import check_content, check_form
from moerec.loadtest.loads import Loads
from moerec.loadtest.plan import Plan, Target
from moerec.loadtest.run import run_bench
from moerec.loadtest.service import ceiling, serving
from moerec.loadtest.users import prepared_store, working_copy
from moerec.store.sql import open_event_store
from tests.serving import command_line, moerec
from tests.tiny import tiny_bundle

ITEMS = 300


def a_plan(tmp_path: Path, **other: object) -> Plan:
    bundle = tiny_bundle(tmp_path / "bundle", items=ITEMS).path
    given: dict[str, object] = {
        "users": 100, "events_a_user": (3, 8), "seconds": 1.0, "connections": 4, "generator": "own",
        "bundle": bundle, "folder": tmp_path / "bench", "k": 5, **other,
    }  # fmt: skip
    return Plan(**given)  # type: ignore[arg-type]


@pytest.mark.slow
def test_loads_on_the_real_service(tmp_path: Path) -> None:
    """Closed and open loop, answers looked at, and a death under load that says what happened."""
    plan = a_plan(tmp_path)
    assert plan.bundle is not None
    bundle = tiny_bundle(tmp_path / "same", items=ITEMS)
    catalogue = list(bundle.id_map.ids)
    loads = Loads(plan, catalogue, tmp_path)
    loaded = prepared_store(plan, catalogue, lambda *_: None)
    with (
        working_copy(loaded) as url,
        closing(open_event_store(url)) as store,
        serving(plan, plan.bundle, url) as service,
    ):
        before = store.last_number()
        closed = loads.closed(service, "closed", (1, 1), 1.0)
        assert closed.errors == {}, "no limit for a user"
        assert set(closed.cpu_us) == {"gateway", "engine", "generator"}
        assert min(closed.rss_bytes.values()) > 1 << 20
        assert closed.engine["engine"]["items"] == ITEMS
        events = store.counts().events - loaded.events
        assert abs(events - closed.requests / 2) < 5 + closed.requests / 5
        opened = loads.open(service, "open", (9, 1), 300.0, 1.0)
        assert (opened.requests, opened.errors, opened.rate) == (300, {}, 300.0)
        form = check_form(loads.kept, plan.k, store, before)
        assert (form.lists >= 1, form.wrong) == (True, 0)
        content = check_content(plan, service, bundle, store, 20)
        assert (content.lists, content.different) == (20, 0)
        psutil.Process(service.pids["engine"]).kill()
        with pytest.raises(ServiceError, match="The engine died") as died:
            loads.closed(service, "closed", (1, 0), 60.0)
        assert "engine  | " in died.value.remedy


@pytest.mark.slow
def test_the_ceiling_has_answers_of_the_size_it_is_told(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    loads = Loads(plan, ["i1"], tmp_path)
    with ceiling(plan, 777) as bare:
        measured = loads.closed(bare, "ceiling", (1, 1), 1.0)
        with socket.create_connection((bare.target.host, bare.target.port)) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: raw.recv(65_536), b""))
    assert len(answer.partition(b"\r\n\r\n")[2]) == 777
    assert (measured.errors, set(measured.cpu_us)) == ({}, {"ceiling", "generator"})
    assert measured.requests > 20


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        plan = a_plan(tmp_path, target=Target(port=busy.getsockname()[1]))
        assert plan.bundle is not None
        url = f"sqlite:///{tmp_path}/events.db"
        with pytest.raises(UsageError, match="in use"), serving(plan, plan.bundle, url):
            pass


def test_a_catalogue_too_small_for_the_histories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few"):
        run_bench(a_plan(tmp_path, events_a_user=(3, 299)), Console(quiet=True))
    assert not list((tmp_path / "bench").glob("*.db"))


def test_one_bench_a_folder(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    plan.folder.mkdir()
    with (
        held(plan.folder / "running", UsageError("-")),
        pytest.raises(UsageError, match="another bench is running"),
    ):
        run_bench(plan, Console(quiet=True))


@pytest.mark.slow
def test_the_command_from_training_to_the_picture(tmp_path: Path) -> None:
    """With wrk where it is installed; a second run finds bundle and users."""
    given = (
        "bench", "serving", "--items", "300", "--users", "200", "--events-a-user", "3:8", "--seconds", "1",
        "--epochs", "1", "--dir", "kept", "--json", "out.json", "--plot", "out.png",
    )  # fmt: skip
    for said in ("loaded at", "loaded by an earlier run"):
        with moerec(*given, cwd=tmp_path) as process:
            output, _ = process.communicate(timeout=220)
        assert process.returncode == 0, output
        assert said in output
        assert ("Training on" in output) is (said == "loaded at")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [load["mix"] for load in found["loads"]] == [[9, 1], [1, 1], *[[9, 1]] * 5]
    assert found["faults"] == []
    memo = {load["name"]: load["engine_work"]["engine"]["answers_memo"] for load in found["loads"]}
    assert memo["closed loop"] > 0
    assert memo["closed loop, memo off"] == 0
    assert found["content"]["lists"] >= 20
    assert found["freshness"]["never"] == 0
    assert found["model"]["routing"]["budget"] == 2.25
    assert (tmp_path / "out.png").exists()
    assert not list((tmp_path / "kept").glob("*.run.db*"))


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    plan = a_plan(tmp_path)
    given = (
        "bench", "serving", "--bundle", str(plan.bundle), "--users", "100", "--events-a-user", "3:8",
        "--seconds", "30", "--generator", "own", "--dir", "kept",
    )  # fmt: skip
    with moerec(*given, cwd=tmp_path) as process:
        parent = psutil.Process(process.pid)
        deadline = time.monotonic() + 200
        while not any(
            "moerec.loadtest.generator" in command_line(each) for each in parent.children()
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = parent.children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.endswith("stopped\n")
    assert "Traceback" not in output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert not list((tmp_path / "kept").glob("*.run.db*"))

"""`moerec serve` from the outside: what it refuses, how it starts, how it ends."""

import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from moerec.artifacts.bundle import Bundle
from moerec.cli.main import main
from moerec.errors import ArtifactError, SettingsError, StorageError, UsageError
from moerec.process.serve import check, make_supervisor, private_socket
from moerec.settings import Settings
from tests.serving import serving
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.mark.slow
def test_serves_until_ctrl_c_in_the_terminal(bundle: Bundle, tmp_path: Path) -> None:
    """A terminal sends SIGINT to the whole process group; only the supervisor may hear it."""
    log = tmp_path / "log"
    with serving(bundle.path, f"sqlite:///{tmp_path}/events.db", log) as served:
        assert served.get("/readyz")["model_version"] == bundle.version
        children = psutil.Process(served.process.pid).children()
        assert len(children) == 2
        os.killpg(served.process.pid, signal.SIGINT)
        assert served.process.wait(30) == 0
    assert log.read_text().endswith("Stopped.\n")
    assert "Traceback" not in log.read_text()
    assert not [child for child in children if child.is_running()]


def test_a_busy_port_is_refused_before_anything_starts(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        url = f"sqlite:///{tmp_path}/events.db"
        given = ("--bundle", str(bundle.path), "--port", str(port), "--database-url", url)
        assert main(["serve", *given]) == 2
    output = capsys.readouterr().err
    assert f"Port {port} on 127.0.0.1 is in use" in output
    assert "--port" in output
    assert not list(tmp_path.iterdir())


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    with (bundle.path / "weights.safetensors").open("r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        check(Settings.load(bundle=bundle.path, port=0))


def test_a_key_that_is_none_is_refused_before_anything_starts(
    bundle: Bundle, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_text("no key")
    settings = Settings.load(
        environment="production", bundle=bundle.path, port=0, jwt_public_key=key
    )
    with pytest.raises(SettingsError, match="holds no public key"):
        check(settings)


def test_a_store_that_is_none_is_refused_before_anything_starts(
    bundle: Bundle, tmp_path: Path
) -> None:
    """The two children used to find out, and the service ended with 1 instead of 2."""
    (tmp_path / "events.db").write_text("no database " * 100)
    settings = Settings.load(
        bundle=bundle.path, port=0, database_url=f"sqlite:///{tmp_path}/events.db"
    )
    with pytest.raises(StorageError, match="not a database"):
        check(settings)


def test_the_gateway_may_finish_what_is_under_way(bundle: Bundle) -> None:
    """It was killed 5 s after SIGTERM, whatever MOEREC_SHUTDOWN_S said."""
    settings = Settings.load(bundle=bundle.path, shutdown_s=60)
    supervisor = make_supervisor(settings, lambda _: None, lambda *_: None)
    assert supervisor.specs[0].stop_s > 60


def test_the_socket_is_private_unless_an_address_was_chosen(bundle: Bundle) -> None:
    with private_socket(Settings.load(bundle=bundle.path)) as one:
        with private_socket(Settings.load(bundle=bundle.path)) as other:
            assert one.engine_address != other.engine_address
        path = Path(one.engine_address.removeprefix("unix:"))
        assert path.parent.is_dir()
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()
    chosen = Settings.load(bundle=bundle.path, engine_address="127.0.0.1:7000")
    with private_socket(chosen) as settings:
        assert settings is chosen


def test_children_get_what_the_command_line_said(bundle: Bundle) -> None:
    settings = Settings.load(bundle=bundle.path, port=8123, database_url="sqlite:///other.db")
    supervisor = make_supervisor(settings, lambda _: None, lambda *_: None)
    environments = [spec.environment for spec in supervisor.specs]
    for environment in environments:
        assert environment["MOEREC_PORT"] == "8123"
        assert environment["MOEREC_DATABASE_URL"] == "sqlite:///other.db"
        assert environment["MOEREC_BUNDLE"] == str(bundle.path)
    assert [spec.name for spec in supervisor.specs] == ["gateway", "engine"]


def test_each_engine_has_its_address_and_the_gateway_all(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MOEREC_ENGINES", "3")
    with private_socket(Settings.load(bundle=bundle.path)) as settings:
        supervisor = make_supervisor(settings, lambda _: None, lambda *_: None)
    gateway, *engines = (spec.environment for spec in supervisor.specs)
    assert [spec.name for spec in supervisor.specs[1:]] == ["engine-1", "engine-2", "engine-3"]
    addresses = [engine["MOEREC_ENGINE_ADDRESS"] for engine in engines]
    assert gateway["MOEREC_ENGINE_ADDRESS"] == ",".join(addresses)
    assert len(set(addresses)) == 3
    assert [each["MOEREC_ENGINES"] for each in (gateway, *engines)] == ["3", "1", "1", "1"]
    assert all(int(engine["OMP_NUM_THREADS"]) >= 1 for engine in engines)


@pytest.mark.parametrize(("engines", "given", "each"), [(1, 999, 999), (3, 999, 333), (4, 3, 1)])
def test_the_engines_of_a_machine_share_the_arena(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, engines: int, given: int, each: int
) -> None:
    """Each took all of it: four engines were allowed 16 GiB by a default that says 4."""
    monkeypatch.setenv("MOEREC_ARENA_MIB", str(given))
    with private_socket(Settings.load(bundle=bundle.path, engines=engines)) as settings:
        supervisor = make_supervisor(settings, lambda _: None, lambda *_: None)
    arenas = [spec.environment["MOEREC_ARENA_MIB"] for spec in supervisor.specs[1:]]
    assert arenas == [str(each)] * engines


def test_as_many_engines_as_addresses_were_chosen(bundle: Bundle) -> None:
    chosen = Settings.load(bundle=bundle.path, engine_address="127.0.0.1:7000, unix:b.sock")
    with private_socket(chosen) as settings:
        supervisor = make_supervisor(settings, lambda _: None, lambda *_: None)
    addresses = [spec.environment["MOEREC_ENGINE_ADDRESS"] for spec in supervisor.specs[1:]]
    assert addresses == ["127.0.0.1:7000", "unix:b.sock"]


def test_an_address_outside_loopback_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--bundle", "none", "--host", "0.0.0.0"]) == 2  # noqa: S104
    assert capsys.readouterr().err.startswith("error: ")


def test_a_port_nobody_may_use_is_refused(bundle: Bundle) -> None:
    settings = Settings.load(bundle=bundle.path).model_copy(update={"host": "192.0.2.1"})
    with pytest.raises(UsageError, match="Nobody can listen"):
        check(settings)

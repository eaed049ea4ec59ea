"""Settings come from the environment; a name or a value we do not know stops the start."""

import os
from pathlib import Path

import pytest

from moerec.errors import SettingsError
from moerec.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MOEREC_"):
            monkeypatch.delenv(name)


def test_defaults_are_a_laptops() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port, settings.environment) == (
        "127.0.0.1",
        8000,
        "development",
    )
    assert settings.database_url == "sqlite:///.moerec/events.db"
    assert settings.deadline_ms == 250


def test_the_caller_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEREC_PORT", "9001")
    monkeypatch.setenv("MOEREC_BUNDLE", "bundles/a")
    assert Settings.load().port == 9001
    assert Settings.load(port=9002).port == 9002
    assert Settings.load().bundle_path() == Path("bundles/a")


def test_a_misspelt_name_stops_the_start_and_the_right_one_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOEREC_DATABSE_URL", "sqlite:///x.db")
    with pytest.raises(SettingsError, match="Did you mean MOEREC_DATABASE_URL") as caught:
        Settings.load()
    assert "MOEREC_LOG_LEVEL" in caught.value.remedy


def test_a_name_like_no_other_lists_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEREC_XYZZY", "1")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "Did you mean" not in caught.value.message
    assert "MOEREC_HOST" in caught.value.remedy


@pytest.mark.parametrize(
    "name",
    [
        "MOEREC_DATA_DIR",
        "MOEREC_TEST_DATABASE_URL",
        "MOEREC_GATEWAY_SERVICE_HOST",
        "MOEREC_GATEWAY_SERVICE_PORT",
        "MOEREC_GATEWAY_SERVICE_PORT_HTTP",
        "MOEREC_GATEWAY_PORT",
        "MOEREC_GATEWAY_PORT_8000_TCP_ADDR",
    ],
)
def test_names_that_others_set_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8000")
    Settings.load()


def test_an_unknown_override_is_refused() -> None:
    with pytest.raises(SettingsError, match="MOEREC_COLOUR"):
        Settings.load(colour="red")


def test_every_wrong_value_is_named_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEREC_PORT", "eighty")
    monkeypatch.setenv("MOEREC_DURABILITY", "none")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert "MOEREC_PORT: " in caught.value.message
    assert "MOEREC_DURABILITY: " in caught.value.message


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104
        "::",
        "192.168.1.5",
        "example.org",
        "",
    ],
)
def test_a_host_that_is_not_loopback_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="authentication"):
        Settings.load(host=host)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.5", "::1"])
def test_a_loopback_host_is_accepted(host: str) -> None:
    assert Settings.load(host=host).host == host


def test_production_needs_something_to_verify_tokens_with() -> None:
    with pytest.raises(SettingsError, match=r"set MOEREC_JWT_SECRET .* or MOEREC_JWT_PUBLIC_KEY"):
        Settings.load(environment="production")


@pytest.mark.parametrize("given", [{"jwt_secret": "s" * 32}, {"jwt_public_key": "key.pem"}])
def test_production_listens_anywhere(given: dict[str, str]) -> None:
    settings = Settings.load(environment="production", host="0.0.0.0", **given)  # noqa: S104
    assert settings.host == "0.0.0.0"  # noqa: S104


def test_a_secret_in_development_opens_no_other_host() -> None:
    with pytest.raises(SettingsError, match="MOEREC_ENVIRONMENT=production"):
        Settings.load(host="0.0.0.0", jwt_secret="s" * 32)  # noqa: S104


def test_a_short_secret_is_refused_by_its_bytes() -> None:
    with pytest.raises(SettingsError, match=r"MOEREC_JWT_SECRET: the secret has 31 bytes"):
        Settings.load(jwt_secret="x" * 31)
    assert Settings.load(jwt_secret="é" * 16).jwt_secret is not None


def test_a_secret_is_in_no_repr_and_no_error() -> None:
    secret = "hush" * 8
    assert "hush" not in repr(Settings.load(jwt_secret=secret)) + str(
        Settings.load(jwt_secret=secret)
    )
    for wrong in ({"jwt_secret": secret, "port": -1}, {"jwt_secret": "hush"}):
        with pytest.raises(SettingsError) as caught:
            Settings.load(**wrong)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("unix:" + "x" * 108, "108 bytes"),
        ("unix:", "0 bytes"),
        ("engine", "expected unix:PATH"),
        ("unix:a,engine", "expected unix:PATH"),
        ("host:1,", "expected unix:PATH"),
        ("host:1, host:2, host:1", "named twice"),
        (",".join(f"host:{port}" for port in range(65)), "64 engines are possible"),
    ],
)
def test_an_engine_address_that_cannot_work_is_refused(address: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Settings.load(engine_address=address)


def test_several_engines_have_several_addresses() -> None:
    assert Settings.load(engine_address="unix:a, host:2").engine_addresses == ["unix:a", "host:2"]
    assert Settings.load(engine_address="unix:a,unix:b", engines=2).engines == 2
    with pytest.raises(SettingsError, match=r"MOEREC_ENGINES=3.*names 2"):
        Settings.load(engine_address="unix:a,unix:b", engines=3)


def test_a_start_without_a_bundle_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="No bundle"):
        Settings.load().bundle_path()


def test_a_database_password_is_in_no_repr() -> None:
    settings = Settings.load(database_url="postgresql://moerec:s3cret@db/moerec")
    assert "s3cret" not in repr(settings) + str(settings)
    with pytest.raises(SettingsError) as caught:
        Settings.load(database_url="postgresql://moerec:s3cret@db/moerec", port=-1)
    assert "s3cret" not in str(caught.value)

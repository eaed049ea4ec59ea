"""`moerec token`: what it prints opens the gateway, and for how long."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from moerec.api.tokens import SCOPES, Caller, TokenVerifier
from moerec.cli.main import main, make_parser
from moerec.settings import Settings
from tests.api.signing import SECRET


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOEREC_JWT_SECRET", SECRET)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Caller, int]:
    assert main(["token", *arguments]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return TokenVerifier.of(Settings.load()).verify(out.strip().encode())


def test_the_usual_token_is_a_services_for_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    caller, expires_s = printed(capsys, "--sub", "shop")
    assert caller == Caller("shop", None, frozenset({"recommend", "events"}))
    assert time.time() + 3540 < expires_s <= time.time() + 3600


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)]
)
def test_every_option(capsys: pytest.CaptureFixture[str], ttl: str, seconds: int) -> None:
    command = ["--sub", "é", "--user", "ann", "--scope", "recommend", "admin", "--ttl", ttl]
    caller, expires_s = printed(capsys, *command)
    assert caller == Caller("é", "ann", frozenset({"recommend", "admin"}))
    assert abs(expires_s - time.time() - seconds) < 60


def test_issuer_and_audience_are_the_gateways(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOEREC_JWT_ISSUER", "https://id")
    monkeypatch.setenv("MOEREC_JWT_AUDIENCE", "moerec")
    printed(capsys, "--sub", "shop")


@pytest.mark.parametrize("ttl", ["", "0", "-1h", "1w", "h", "1.5h", "9999d", "1 h"])
def test_a_time_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], ttl: str) -> None:
    with pytest.raises(SystemExit):
        main(["token", "--sub", "shop", f"--ttl={ttl}"])
    assert "is not a time such as 90s" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--sub", ""], ["--sub", "a", "--user", "a\nb"]])
def test_a_name_that_the_gateway_would_refuse(
    capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert main(["token", *option]) == 2
    assert "must be 1 to 256 characters" in capsys.readouterr().err


def test_without_a_secret_it_says_what_to_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOEREC_JWT_SECRET")
    assert main(["token", "--sub", "shop"]) == 2
    assert "Set MOEREC_JWT_SECRET" in capsys.readouterr().err


def test_the_scopes_that_can_be_chosen_are_those_that_there_are() -> None:
    parsed = make_parser().parse_args(["token", "--sub", "a", "--scope", *SCOPES])
    assert parsed.scope == list(SCOPES)


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from moerec.cli.main import main; main(['token', '--sub', 'a']); "
        "sys.exit(' '.join({'torch', 'fastapi', 'polars', 'numpy'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

"""Every setting, from the environment: prefix MOEREC_, one frozen class, unknown names refused.

The field's docstring is its documentation. `Settings.load(port=9000)` takes values from the caller (a
command line) before those of the environment.
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from moerec.errors import SettingsError

PREFIX: Final = "MOEREC_"
SOCKET_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path that Linux accepts."""
MOST_ENGINES: Final = 64

LEAST_SECRET_BYTES: Final = 32
"""As many as the hash of HS256 has (RFC 7518, section 3.2)."""

_NOT_OURS: Final = re.compile(
    r"MOEREC_(DATA_DIR|TEST_.*|.*SERVICE_HOST|.*SERVICE_PORT.*|.*_PORT(_\d+_(TCP|UDP).*)?)"
)
"""Names with our prefix that others set: tests, data folders, and Kubernetes for a service that is
named moerec-something (`MOEREC_GATEWAY_SERVICE_HOST`, `MOEREC_GATEWAY_PORT_8000_TCP_ADDR`)."""


class Settings(BaseSettings):
    """The settings of gateway, engine and supervisor."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    environment: Literal["development", "production"] = "development"
    """`development` asks for no token, and listens on loopback only; `production` asks for one."""

    bundle: Path | None = None
    """Folder of the bundle to serve."""

    database_url: str = Field(default="sqlite:///.moerec/events.db", repr=False, min_length=1)
    """The event store. A SQLite file's folder is made when it is missing."""

    durability: Literal["process", "full"] = "process"
    """What an acknowledged event survives: the death of every `process`, or power loss too (`full`)."""

    host: str = "127.0.0.1"
    """The address the gateway listens on."""

    port: int = Field(default=8000, ge=0, le=65535)
    """The port the gateway listens on; 0 takes a free one."""

    jwt_secret: str | None = Field(default=None, repr=False)
    """What tokens are signed with (HS256), 32 bytes or more: `openssl rand -hex 32`."""

    jwt_public_key: Path | None = None
    """A file with the public key (PEM, Ed25519 or RSA) of whoever else signs tokens."""

    jwt_issuer: str | None = None
    """The `iss` that every token must have."""

    jwt_audience: str | None = None
    """The `aud` that every token must have; without this setting, tokens with an `aud` are refused."""

    user_rate: float = Field(default=50.0, ge=0, allow_inf_nan=False)
    """Requests a second about one user, in each gateway process; more is a 429. 0: no limit."""

    user_burst: int = Field(default=100, ge=1)
    """Requests about one user that may come at once after a pause."""

    engine_address: str = "unix:.moerec/engine.sock"
    """Where the engine listens: `unix:PATH` or `HOST:PORT`. For gateways, and for `moerec serve`, of several
    engines: the addresses of all, with commas between; every gateway gets the same ones."""

    engines: int = Field(default=1, ge=1, le=MOST_ENGINES)
    """How many engines `moerec serve` starts; as many as MOEREC_ENGINE_ADDRESS names, where it is set."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the engine computes; `auto` takes a GPU where there is one."""

    arena_mib: int = Field(default=4096, ge=1)
    """Memory for the attention states of the users that an engine has met lately, MiB, taken as they come;
    their seen items (4 bytes each, at most 80 kB a user) come on top. The engines
    of one `moerec serve` share it."""

    state_type: Literal["int8", "float32"] = "int8"
    """How the engine keeps those states on a CPU: in a quarter of the memory, or unrounded."""

    expert_quota: float = Field(default=0.0, ge=0, le=1)
    """The largest share of a layer's work that one expert may do over the last 4096 answers; above it answers
    are re-routed to the next best experts until the share has fallen by a tenth. 0 for none."""

    busy_frame: int = Field(default=0, ge=0, le=64)
    """From so many requests in a micro-batch (64 are the most) answers wake as few experts as the model
    allows, unless a request says otherwise; 0 for never."""

    taste_memo: bool = True
    """Whether the engine remembers what it made of a user's newest event until the next one; off, for
    measurements, it works that row out again for each list, and the lists are the same."""

    deadline_ms: int = Field(default=250, ge=1, le=60_000)
    """How long an answer may wait for the engine before the popular list is given, milliseconds."""

    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """The largest request body that is read, bytes; more is a 413."""

    cache_ttl_s: float = Field(default=30.0, ge=0)
    """How long an answer about similar items may be repeated, seconds; 0 keeps none."""

    shutdown_s: int = Field(default=10, ge=0)
    """How long requests under way may take to finish after SIGTERM, seconds."""

    download_url: str = "https://files.grouplens.org/datasets/movielens"
    """Where `moerec data download` fetches MovieLens from; a mirror brings its own `ZIP.md5`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious log lines that are written."""

    @classmethod
    def load(cls, **overrides: Any) -> Self:  # noqa: ANN401 - values of any field, checked by pydantic
        """The settings of this process; SettingsError names each variable that is refused, and why."""
        _refuse_unknown(os.environ, set(cls.model_fields))
        try:
            return cls(**overrides)
        except ValidationError as error:
            faults = [_fault(item["loc"], item["msg"]) for item in error.errors()]
            raise SettingsError(
                "\n".join(faults), "Correct the setting or leave it away."
            ) from None

    @property
    def engine_addresses(self) -> list[str]:
        """The addresses of `engine_address`, at least one, all different."""
        return [address.strip() for address in self.engine_address.split(",")]

    def bundle_path(self) -> Path:
        """The bundle's folder; SettingsError if none was named."""
        if self.bundle is None:
            raise SettingsError(
                "No bundle was named.", "Set MOEREC_BUNDLE to a folder that `moerec train` wrote."
            )
        return self.bundle

    @field_validator("engine_address")
    @classmethod
    def _engine_addresses_can_be_used(cls, value: str) -> str:
        addresses = [address.strip() for address in value.split(",")]
        for address in addresses:
            _check_address(address)
        if len(set(addresses)) < len(addresses):
            raise ValueError("an address is named twice")
        if len(addresses) > MOST_ENGINES:
            raise ValueError(f"{len(addresses)} addresses; {MOST_ENGINES} engines are possible")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _jwt_secret_cannot_be_guessed(cls, value: str | None) -> str | None:
        if value is not None and (size := len(value.encode())) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"the secret has {size} bytes, {LEAST_SECRET_BYTES} or more are needed: openssl rand -hex 32"
            )
        return value

    @model_validator(mode="after")
    def _each_engine_has_an_address(self) -> Self:
        both = {"engines", "engine_address"} <= self.model_fields_set
        if both and self.engines != len(self.engine_addresses):
            raise ValueError(
                f"MOEREC_ENGINES={self.engines}, and MOEREC_ENGINE_ADDRESS names "
                f"{len(self.engine_addresses)}: leave one of the two away"
            )
        return self

    @model_validator(mode="after")
    def _nobody_outside_gets_in(self) -> Self:
        if self.environment == "production":
            if self.jwt_secret is None and self.jwt_public_key is None:
                raise ValueError(
                    "MOEREC_ENVIRONMENT=production asks for tokens and needs something to verify them with: "
                    "set MOEREC_JWT_SECRET (openssl rand -hex 32) or MOEREC_JWT_PUBLIC_KEY"
                )
        elif not _is_loopback(self.host):
            raise ValueError(
                f"MOEREC_HOST={self.host} can be reached from outside, where requests need authentication: "
                "set MOEREC_ENVIRONMENT=production, or use 127.0.0.1"
            )
        return self


def _check_address(address: str) -> None:
    if address.startswith("unix:"):
        size = len(os.fsencode(address.removeprefix("unix:")))
        if not 0 < size <= SOCKET_PATH_LIMIT:
            raise ValueError(
                f"the socket's path has {size} bytes, between 1 and {SOCKET_PATH_LIMIT} are possible"
            )
    elif not re.fullmatch(r"\S+:\d{1,5}", address):
        raise ValueError("expected unix:PATH or HOST:PORT")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_unknown(names: Iterable[str], fields: set[str]) -> None:
    known = sorted(field.upper() for field in fields)
    for name in sorted(names):
        upper = name.upper()
        own = upper.removeprefix(PREFIX)
        if own == upper or own in known or _NOT_OURS.fullmatch(upper):
            continue
        near = difflib.get_close_matches(own, known, n=1)
        raise SettingsError(
            f"{name} is not a setting." + (f" Did you mean {PREFIX}{near[0]}?" if near else ""),
            f"The settings are: {', '.join(PREFIX + each for each in known)}.",
        )


def _fault(place: tuple[int | str, ...], message: str) -> str:
    text = message.removeprefix("Value error, ")
    return f"{PREFIX}{str(place[0]).upper()}: {text}" if place else text

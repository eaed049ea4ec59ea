"""What a run of `moerec bench serving` does: sizes, mix, rates, and the rules it is fair by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from moerec.errors import UsageError

ZIPF_USERS: Final = 100_000
"""Users among whom the skewed part of the requests is drawn."""

UNIFORM: Final = 0.05
"""The share of requests whose user is any of all users, with the same chance."""

LOADS: Final = (0.25, 0.5, 0.75, 0.9)
"""Arrival rates of the open loop, as shares of the closed loop's throughput."""

MIXED: Final = (1, 1)
"""Reads to events of the second closed loop."""

MOST_EVENTS_A_USER: Final = 1_000
MOST_K: Final = 100
MOST_CONNECTIONS: Final = 1_000

SHAPES: Final[Mapping[str, Mapping[str, int]]] = {
    "small": {"dim": 64, "layers": 2},
    "large": {"dim": 128, "layers": 4},
}
"""Width and depth of the model that is trained where none is given."""

Mix = tuple[int, int]
"""Reads and events, in proportion."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what each of them carries.

    `token` goes with every request as `Authorization: Bearer TOKEN`; without one the bench signs its own.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None

    def headers(self) -> dict[str, str]:
        """Headers of every request, besides those of its body."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `seconds` is the length of each load; everything random follows from `seed`.

    With a `bundle` its items are the catalogue, and `items`, `shape` and `epochs` say nothing. `folder`
    keeps what can be used again: the trained bundle, and the store with the users' histories. UsageError
    for sizes that make no sense.
    """

    items: int = 100_000
    users: int = 1_000_000
    events_a_user: tuple[int, int] = (5, 50)
    mix: Mix = (9, 1)
    k: int = 10
    connections: int = 64
    seconds: float = 15.0
    shape: str = "small"
    epochs: int = 3
    bundle: Path | None = None
    folder: Path = Path(".moerec/bench")
    target: Target = field(default_factory=Target)
    generator: Literal["auto", "wrk", "own"] = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        fewest, most = self.events_a_user
        rules = {
            "--items: a catalogue has 200 items or more": self.items >= 200,
            "--users: 10 users or more are needed": self.users >= 10,
            f"--events-a-user: 1 <= fewest <= most <= {MOST_EVENTS_A_USER}": 1
            <= fewest
            <= most
            <= MOST_EVENTS_A_USER,
            "--mix: at least one read, and no negative number": self.mix[0] >= 1
            and self.mix[1] >= 0,
            f"--k: a list has 1 to {MOST_K} items": 1 <= self.k <= MOST_K,
            f"--connections: 1 to {MOST_CONNECTIONS}": 1 <= self.connections <= MOST_CONNECTIONS,
            "--seconds: a load takes 1 to 3600 seconds": 1 <= self.seconds <= 3600,
            f"--shape: one of {', '.join(SHAPES)}": self.shape in SHAPES,
            "--epochs: 1 or more": self.epochs >= 1,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        # What is left of the catalogue must be enough for a list.
        if not broken and self.bundle is None and most + self.k > self.items:
            broken = [f"--items: {most} events a user and lists of {self.k} need more items"]
        if broken:
            raise UsageError("; ".join(broken), "moerec bench serving --help shows the defaults.")

    @property
    def zipf_users(self) -> int:
        """Users among whom the skewed part of the requests is drawn."""
        return min(ZIPF_USERS, self.users)

    @property
    def store_path(self) -> Path:
        """The store with the users' histories; its name says what it depends on, but the catalogue."""
        fewest, most = self.events_a_user
        return self.folder / f"users-{self.users}-{fewest}-{most}-seed{self.seed}.db"

    @property
    def bundle_path(self) -> Path:
        """The bundle that is given, or trained."""
        if self.bundle is not None:
            return self.bundle
        return self.folder / f"bundle-{self.items}-{self.shape}-{self.epochs}-seed{self.seed}"

    def rules(self) -> list[str]:
        """How the load is made, in sentences: printed with every result."""
        return [
            f"{1 - UNIFORM:.0%} of the requests: user drawn by Zipf(1) among {self.zipf_users:,} users; "
            f"{UNIFORM:.0%}: uniformly among all {self.users:,}",
            "events: new ones, one a request, users drawn the same way; a user goes on in one of the "
            "clusters of items that the user's history is made of",
            f"{self.connections} connections, kept alive, no pipelining; one machine for all processes",
            "answers are made for each request: none comes from a cache; the engine remembers the row "
            "of a user's newest event until the next, but for the line with the memo off",
            "each request carries a token, which is verified (remembered after the first time), and is "
            "counted against its user's limit, which nobody reaches unless MOEREC_USER_RATE is set",
            "open loop: Poisson arrivals, latency from the moment a request was due, not sent",
            "the generator's share of the processor is shown, and not subtracted",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the JSON file; the token is not among them."""
        return {
            "items": self.items,
            "users": self.users,
            "events_a_user": list(self.events_a_user),
            "mix": list(self.mix),
            "k": self.k,
            "connections": self.connections,
            "seconds": self.seconds,
            "shape": self.shape if self.bundle is None else None,
            "bundle": None if self.bundle is None else str(self.bundle),
            "seed": self.seed,
            "zipf_users": self.zipf_users,
            "uniform_share": UNIFORM,
        }

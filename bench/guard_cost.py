"""What the guard costs a request: its token, verified and remembered, and its user's limit. Microseconds.

    python bench/guard_cost.py [--rounds 400]

Each figure is the fastest of so many short rounds on one thread, which other work on the machine hardly
disturbs: what the code itself takes. Headers are the six that curl and a keep-alive client send.
"""

import argparse
import logging
import sys
import time
import timeit
from collections.abc import Callable
from contextlib import suppress

import jwt
from _machine import ROOT, about
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

sys.path.insert(0, str(ROOT))

from moerec.api.auth import Authenticator, Head
from moerec.api.errors import ApiError
from moerec.api.guard import Guard
from moerec.api.limits import UserLimiter
from moerec.api.tokens import TokenVerifier, signed
from moerec.observability.metrics import Metrics

SECRET = "not a secret, and of 32 bytes or more"  # noqa: S105
ROUTE = "/v1/users/{user_id}/recommendations"
HEADERS = [
    (name, b"of the usual length") for name in (b"host", b"accept", b"user-agent", b"a", b"b")
]


def fastest_us(call: Callable[[], object], calls: int, rounds: int) -> float:
    """Microseconds of one call, in the fastest round of `calls`."""
    return min(timeit.repeat(call, number=calls, repeat=rounds)) / calls * 1e6


def verifications() -> dict[str, Callable[[], object]]:
    """A first look at a token, by algorithm."""
    token = signed(SECRET, "shop", ["recommend", "events"], 3600, {}).encode()
    shared = TokenVerifier({"HS256": SECRET})
    found: dict[str, Callable[[], object]] = {"verify HS256": lambda: shared.verify(token)}
    claims = {"sub": "shop", "scope": "recommend events", "exp": int(time.time()) + 3600}
    ed25519, rsa = Ed25519PrivateKey.generate(), generate_private_key(65537, 2048)
    one, other = (jwt.encode(claims, ed25519, "EdDSA"), jwt.encode(claims, rsa, "RS256"))
    by_ed25519 = TokenVerifier({"EdDSA": ed25519.public_key()})
    by_rsa = TokenVerifier({"RS256": rsa.public_key()})
    found["verify EdDSA"] = lambda: by_ed25519.verify(one.encode())
    found["verify RS256"] = lambda: by_rsa.verify(other.encode())
    return found


def requests() -> dict[str, Callable[[], object]]:
    """What each request pays."""
    token = signed(SECRET, "shop", ["recommend", "events"], 3600, {}).encode()
    with_token = [*HEADERS, (b"authorization", b"Bearer " + token)]
    guard = Guard(
        Authenticator(TokenVerifier({"HS256": SECRET}), token_needed=False),
        UserLimiter(1e9, 10**9),
        Metrics(),
    )
    known = Head(with_token)
    caller = guard.caller(known, "GET", ROUTE)
    forged = [*HEADERS, (b"authorization", b"Bearer " + token[:-2] + b"AA")]

    def refuse() -> None:
        with suppress(ApiError):
            guard.caller(Head(forged), "GET", ROUTE)

    return {
        "token found again, and its scope": lambda: guard.caller(Head(with_token), "GET", ROUTE),
        "a known head, and its scope": lambda: guard.caller(known, "GET", ROUTE),
        "user and limit": lambda: guard.admit(caller, "ann"),
        "both": lambda: guard.admit(guard.caller(Head(with_token), "GET", ROUTE), "ann"),
        "a refused token again": refuse,
        "both, without a token": lambda: guard.admit(
            guard.caller(Head(HEADERS), "GET", ROUTE), "ann"
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=400)
    rounds = parser.parse_args().rounds
    logging.getLogger("moerec").addHandler(logging.NullHandler())  # refusals are not for the screen
    print(about())
    for calls, timed in ((5, verifications()), (200, requests())):
        for name, call in timed.items():
            print(f"{name:<34} {fastest_us(call, calls, rounds):7.2f} us")


if __name__ == "__main__":
    main()

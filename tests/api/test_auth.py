"""The header, and the memory of verified tokens: never longer than they are good, never too many."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moerec.api.auth import LONGEST_TOKEN, RIGHTS, Authenticator, Head
from moerec.api.main import create_app
from moerec.api.tokens import DEVELOPMENT, SCOPES, Caller, TokenVerifier
from moerec.errors import TokenError
from moerec.settings import Settings
from tests.api.signing import DAY_S, OTHER_SECRET, SECRET, claiming, token


class Counting(TokenVerifier):
    """Counts what it has verified."""

    verified = 0

    def verify(self, token: bytes) -> tuple[Caller, int]:
        self.verified += 1
        return super().verify(token)


def header(value: bytes | str) -> list[tuple[bytes, bytes]]:
    text = value if isinstance(value, bytes) else value.encode()
    return [(b"host", b"x"), (b"authorization", text)]


def caller(authenticator: Authenticator, headers: list[tuple[bytes, bytes]]) -> Caller:
    """Who sent these headers, for the first time on their connection."""
    return authenticator.caller(Head(headers))


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def verifier() -> Counting:
    return Counting({"HS256": SECRET})


def test_a_token_is_verified_once(verifier: Counting) -> None:
    authenticator = Authenticator(verifier, token_needed=True)
    given = header(f"Bearer {token('shop')}")
    assert caller(authenticator, given) is caller(authenticator, given)
    assert verifier.verified == 1


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer   "])
def test_the_schemes_case_does_not_matter(verifier: Counting, kind: str) -> None:
    given = header(f"{kind} {token('shop')}")
    assert caller(Authenticator(verifier, token_needed=True), given).subject == "shop"


@settings(max_examples=50, deadline=None)
@given(ttl_s=st.integers(1, 1000), waits=st.lists(st.floats(0, 400), max_size=8))
def test_a_remembered_token_is_refused_from_the_moment_it_expires(
    ttl_s: int, waits: list[float]
) -> None:
    clock = Clock()
    authenticator = Authenticator(TokenVerifier({"HS256": SECRET}), token_needed=True, now=clock)
    given = token(ttl_s=ttl_s)
    _, expires_s = TokenVerifier({"HS256": SECRET}).verify(given.encode())
    clock.now_s = expires_s - ttl_s
    for wait in waits:
        clock.now_s += wait
        if clock.now_s < expires_s:
            caller(authenticator, header(f"Bearer {given}"))
        else:
            with pytest.raises(TokenError) as caught:
                caller(authenticator, header(f"Bearer {given}"))
            assert caught.value.code == "token_expired"


def test_memory_is_bounded_and_the_least_used_leaves(verifier: Counting) -> None:
    authenticator = Authenticator(verifier, token_needed=True, most_tokens=3)
    tokens = [token(f"s{n}") for n in range(4)]
    for one in (*tokens[:3], tokens[0], tokens[3]):
        caller(authenticator, header(f"Bearer {one}"))
    assert verifier.verified == 4
    caller(authenticator, header(f"Bearer {tokens[0]}"))
    assert verifier.verified == 4
    caller(authenticator, header(f"Bearer {tokens[1]}"))
    assert verifier.verified == 5


def refused(authenticator: Authenticator, given: str) -> TokenError:
    with pytest.raises(TokenError) as caught:
        caller(authenticator, header(f"Bearer {given}"))
    return caught.value


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("a.b.c", "token_invalid"),
        (token(secret=OTHER_SECRET), "token_invalid"),
        (claiming("sub"), "token_invalid"),
        (token(ttl_s=-DAY_S), "token_expired"),
    ],
)
def test_a_refused_token_is_verified_once(verifier: Counting, given: str, code: str) -> None:
    """Who sent the same one again and again had it verified each time, 50 to 200 us of the gateway's."""
    authenticator = Authenticator(verifier, token_needed=True)
    first, again = (refused(authenticator, given) for _ in range(2))
    assert verifier.verified == 1
    assert (first.code, str(first)) == (again.code, str(again))
    assert first.code == code
    assert first is not again


def test_a_token_that_is_not_valid_yet_is_looked_at_again(verifier: Counting) -> None:
    authenticator = Authenticator(verifier, token_needed=True)
    for _ in range(2):
        assert "nbf" in refused(authenticator, claiming(nbf=2**31)).message
    assert verifier.verified == 2


def test_an_expired_token_is_refused_from_memory_until_the_clock_is_set_back(
    verifier: Counting,
) -> None:
    clock = Clock()
    authenticator = Authenticator(verifier, token_needed=True, now=clock)
    given = token(ttl_s=100)
    caller(authenticator, header(f"Bearer {given}"))
    clock.now_s += 200
    for _ in range(3):
        assert refused(authenticator, given).code == "token_expired"
    assert verifier.verified == 1
    clock.now_s -= 200
    assert caller(authenticator, header(f"Bearer {given}")).subject
    assert verifier.verified == 2


def test_the_memory_of_refusals_is_bounded_and_apart(verifier: Counting) -> None:
    authenticator = Authenticator(verifier, token_needed=True, most_tokens=1, most_refused=3)
    good = header(f"Bearer {token('shop')}")
    caller(authenticator, good)
    for bad in ("a.b.1", "a.b.2", "a.b.3", "a.b.1", "a.b.4"):
        refused(authenticator, bad)
    assert verifier.verified == 5
    caller(authenticator, good)
    for bad in ("a.b.1", "a.b.3", "a.b.4"):
        refused(authenticator, bad)
    assert verifier.verified == 5
    refused(authenticator, "a.b.2")
    assert verifier.verified == 6


@pytest.mark.parametrize("token_needed", [True, False])
@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Token abc", "Bearerabc", "Bearer\tabc",
     "Bearer é", b"Bearer \xff", b"\xff\xfe", "Bearer abc, Bearer def", "=", "Bearer " + "x" * 10_240],
)  # fmt: skip
def test_a_malformed_header_is_refused_even_where_no_token_is_needed(
    verifier: Counting, value: str | bytes, token_needed: bool
) -> None:
    with pytest.raises(TokenError) as caught:
        caller(Authenticator(verifier, token_needed=token_needed), header(value))
    assert caught.value.code == "token_invalid"


def test_a_token_as_long_as_can_be(verifier: Counting) -> None:
    authenticator = Authenticator(verifier, token_needed=True)
    with pytest.raises(TokenError, match="well-formed"):
        caller(authenticator, header("Bearer " + "x" * LONGEST_TOKEN))
    with pytest.raises(TokenError, match="8192 bytes"):
        caller(authenticator, header("Bearer " + "x" * (LONGEST_TOKEN + 1)))


def test_two_headers_are_one_too_many(verifier: Counting) -> None:
    twice = header(f"Bearer {token()}") * 2
    with pytest.raises(TokenError, match="more than one"):
        caller(Authenticator(verifier, token_needed=True), twice)


def test_without_a_token(verifier: Counting) -> None:
    assert caller(Authenticator(verifier, token_needed=False), []) is DEVELOPMENT
    with pytest.raises(TokenError) as caught:
        caller(Authenticator(verifier, token_needed=True), [(b"host", b"x")])
    assert caught.value.code == "token_missing"


def test_every_route_under_v1_has_its_right_and_no_other() -> None:
    paths = create_app(Settings.load()).openapi()["paths"]
    operations = {(method.upper(), path) for path, found in paths.items() for method in found}
    assert {each for each in operations if each[1].startswith("/v1")} == set(RIGHTS)
    assert set(RIGHTS.values()) <= set(SCOPES)


def test_a_head_that_comes_again_is_known_until_its_token_expires(verifier: Counting) -> None:
    """Nothing is looked up for it meanwhile; and from then on it is refused like any other."""
    clock = Clock()
    authenticator = Authenticator(verifier, token_needed=True, now=clock, most_tokens=1)
    head = Head(header(f"Bearer {token('shop', ttl_s=100)}"))
    assert authenticator.caller(head) is authenticator.caller(head)
    caller(authenticator, header(f"Bearer {token('other')}"))
    assert authenticator.caller(head).subject == "shop"
    assert verifier.verified == 2, "forgotten by the memory, and known all the same"
    clock.now_s += 200
    with pytest.raises(TokenError, match="expired"):
        authenticator.caller(head)
    clock.now_s -= 200
    assert authenticator.caller(head).subject == "shop"

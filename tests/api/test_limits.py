"""The bucket's law: in no stretch of t seconds more than burst + rate * t."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.api.limits import UserLimiter


class Clock:
    """A clock that the test moves."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


RATES = st.floats(0.01, 1000)
WAITS = st.lists(st.one_of(st.just(0.0), st.floats(0, 3)), min_size=1, max_size=120)


@given(rate=RATES, burst=st.integers(1, 20), waits=WAITS)
def test_never_more_than_burst_and_rate_in_any_stretch(
    rate: float, burst: int, waits: list[float]
) -> None:
    clock = Clock()
    limiter = UserLimiter(rate, burst, now=clock)
    taken = []
    for wait in waits:
        clock.now_s += wait
        if limiter.take("ann") == 0:
            taken.append(clock.now_s)
    for first, start in enumerate(taken):
        for count, end in enumerate(taken[first:], start=1):
            assert count <= burst + rate * (end - start) + 1e-4


@given(rate=RATES, burst=st.integers(1, 20))
def test_never_less_either(rate: float, burst: int) -> None:
    """The whole burst at once; then whoever waits as long as told is let in."""
    clock = Clock()
    limiter = UserLimiter(rate, burst, now=clock)
    assert [limiter.take("ann") for _ in range(burst)] == [0.0] * burst
    for _ in range(5):
        wait_s = limiter.take("ann")
        assert 0 < wait_s <= 1 / rate * (1 + 1e-6)
        clock.now_s += wait_s + 1e-6 / rate + 1e-9
        assert limiter.take("ann") == 0


@given(waits=WAITS)
def test_a_refusal_takes_nothing(waits: list[float]) -> None:
    """Who is refused a hundred times does not wait longer than who asked once."""
    clock = Clock()
    impatient, patient = (UserLimiter(1, 2, now=clock) for _ in range(2))
    for wait in waits:
        clock.now_s += wait
        told = impatient.take("ann")
        assert told == patient.take("ann")
        again = [impatient.take("ann") for _ in range(3)] if told else []
        assert again == [told] * len(again)


def test_users_do_not_share() -> None:
    limiter = UserLimiter(0.001, 1)
    assert limiter.take("ann") == 0
    assert limiter.take("bob") == 0
    assert limiter.take("ann") > 0


def test_rate_0_is_no_limit() -> None:
    limiter = UserLimiter(0, 1)
    assert {limiter.take("ann") for _ in range(1000)} == {0.0}


def test_the_users_kept_are_bounded_and_the_longest_unseen_leaves() -> None:
    clock = Clock()
    limiter = UserLimiter(0.001, 1, now=clock, most_users=3)
    for user in ("a", "b", "c", "d"):
        assert limiter.take(user) == 0
    assert all(limiter.take(user) > 0 for user in ("b", "c", "d"))
    assert limiter.take("a") == 0


@pytest.mark.parametrize(
    ("rate", "burst", "wait_s", "told"),
    [
        (50.0, 100, 0.013, ("1", '"user";q=100;w=2', '"user";r=0;t=1')),
        (0.5, 3, 1.2, ("2", '"user";q=3;w=6', '"user";r=0;t=2')),
        (1000.0, 1, 0.001, ("1", '"user";q=1;w=1', '"user";r=0;t=1')),
    ],
)
def test_headers_are_whole_seconds(
    rate: float, burst: int, wait_s: float, told: tuple[str, str, str]
) -> None:
    headers = UserLimiter(rate, burst).headers(wait_s)
    assert tuple(headers[name] for name in ("Retry-After", "RateLimit-Policy", "RateLimit")) == told


def test_waits_grow_shorter_as_time_passes() -> None:
    clock = Clock()
    limiter = UserLimiter(0.1, 1, now=clock)
    limiter.take("ann")
    waits = []
    for _ in range(9):
        clock.now_s += 1
        waits.append(limiter.take("ann"))
    assert all(later < earlier for earlier, later in pairwise(waits))

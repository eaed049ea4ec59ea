"""The laws of rendezvous hashing: the same everywhere, even, and nobody moves without need."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.transport.hashing import Rendezvous

NAMES = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True)
USERS = st.text(st.characters(), max_size=30)


def named(names: list[str], user: str) -> list[str]:
    return [names[place] for place in Rendezvous(names).of(user)]


@given(NAMES, USERS)
def test_every_engine_is_in_the_order_once(names: list[str], user: str) -> None:
    assert sorted(named(names, user)) == sorted(names)


@given(NAMES, USERS, st.randoms())
def test_how_engines_are_listed_does_not_matter(
    names: list[str], user: str, random: Random
) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)
    assert named(shuffled, user) == named(names, user)


@given(NAMES.filter(lambda names: len(names) > 1), USERS, st.data())
def test_when_an_engine_goes_only_its_users_move(
    names: list[str], user: str, data: st.DataObject
) -> None:
    """And they go to the next of their order, which stays as it was."""
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    assert named(left, user) == [name for name in named(names, user) if name != gone]


def test_the_orders_are_those_of_every_other_process_and_version() -> None:
    """Gateways of two versions stand beside each other during an update. The ids stand for all kinds."""
    orders = Rendezvous(["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"])
    users = ["ann", "bob", "42", "", "ünïcode", "\ud800"]
    assert [list(orders.of(user)) for user in users] == [
        [0, 1, 2],
        [1, 0, 2],
        [2, 0, 1],
        [0, 2, 1],
        [0, 2, 1],
        [2, 1, 0],
    ]


@pytest.mark.parametrize(("engines", "most"), [(2, 0.03), (3, 0.04), (8, 0.07), (64, 0.2)])
def test_users_are_spread_evenly(engines: int, most: float) -> None:
    """Up to chance in the sample; also who would come second."""
    orders = Rendezvous([f"engine-{place}:7000" for place in range(engines)])
    users = [f"user-{number}" for number in range(50_000)]
    for rank in (0, 1):
        shares = Counter(orders.of(user)[rank] for user in users)
        for place in range(engines):
            assert shares[place] == pytest.approx(len(users) / engines, rel=most)


def test_an_order_is_worked_out_once() -> None:
    orders = Rendezvous(["a", "b"])
    assert orders.of("ann") is orders.of("ann")

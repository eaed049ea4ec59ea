"""The requests of a load: drawn by the rules, the same each time."""

from collections import Counter

import pytest

from moerec.loadtest.plan import Plan
from moerec.loadtest.traffic import draw_asks, popular_users
from moerec.loadtest.users import user_id

CATALOGUE = ["i1", 'i"2', "i✓3"]


def test_users_are_skewed_and_a_twentieth_is_anybody() -> None:
    plan = Plan(users=200_000)
    asks = draw_asks(plan, (9, 1), CATALOGUE, phase=1, count=100_000)
    popular = popular_users(plan)
    counts = Counter(ask.user for ask in asks)
    assert counts.most_common(1)[0][0] == user_id(int(popular[0]))
    # Half of all users are in the skewed part: half of the uniform twentieth is not.
    skewed = {user_id(number) for number in popular.tolist()}
    outside = sum(count for user, count in counts.items() if user not in skewed) / len(asks)
    assert abs(outside - 0.025) < 0.005


@pytest.mark.parametrize(("mix", "share"), [((9, 1), 0.1), ((1, 1), 0.5), ((1, 0), 0.0)])
def test_reads_and_events_are_mixed_as_asked(mix: tuple[int, int], share: float) -> None:
    asks = draw_asks(Plan(users=100), mix, CATALOGUE, phase=1, count=20_000)
    assert abs(sum(not ask.is_read for ask in asks) / len(asks) - share) < 0.02


def test_phases_differ_and_a_phase_repeats() -> None:
    plan = Plan(users=100)
    first = draw_asks(plan, (1, 1), CATALOGUE, phase=1, count=500)
    assert first == draw_asks(plan, (1, 1), CATALOGUE, phase=1, count=500)
    assert first != draw_asks(plan, (1, 1), CATALOGUE, phase=2, count=500)

"""The requests of a load: drawn by the rules, the same each time."""

import json
from collections import Counter

import numpy as np
import pytest

from moerec.loadtest.plan import Plan
from moerec.loadtest.synthetic import World
from moerec.loadtest.traffic import draw_asks, popular_users
from moerec.loadtest.users import histories, user_id
from moerec.types import UserId

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


def taken_from(world: World, cluster: int) -> list[str]:
    """The items of a cluster, found by drawing many."""
    drawn = world.taken(np.random.default_rng(0), np.full(20_000, cluster))
    return [world.ids[place] for place in drawn.tolist()]


def test_a_user_goes_on_in_a_cluster_of_the_own_history() -> None:
    """Items drawn from the whole catalogue made users of a kind that no service has: with no taste at all."""
    catalogue = [f"i{number:05}" for number in range(20_000)]
    plan = Plan(items=20_000, users=300)
    world = World(catalogue, plan.seed)
    cluster_of = {
        item: cluster for cluster in range(100) for item in set(taken_from(world, cluster))
    }
    seen = {
        user: {cluster_of[event.item_id] for event in history}
        for user, history in histories(plan, world, 0, 300)
    }
    asks = draw_asks(plan, (1, 1), catalogue, phase=1, count=2_000)
    taken = [(ask.user, json.loads(ask.item)) for ask in asks if ask.item is not None]
    near = sum(cluster_of[item] in seen[UserId(user)] for user, item in taken) / len(taken)
    # A short history may not have come to each of the user's three clusters.
    assert near > 0.85

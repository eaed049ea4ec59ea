"""Which requests come: users by popularity, reads and events in their proportion."""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.loadtest.plan import UNIFORM, Mix, Plan
from moerec.loadtest.requests import Ask
from moerec.loadtest.synthetic import TASTES, World, zipf
from moerec.loadtest.users import tastes_of, user_id

DRAWN: Final = 200_000
"""Requests of a file; a load that needs more begins it again. Its events are new ones each time, as
the gateway gives them their ids."""


def popular_users(plan: Plan) -> NDArray[np.int64]:
    """The numbers of the users of the skewed part, the most frequent first; anywhere in the store."""
    draw = np.random.default_rng([plan.seed, 4])
    return draw.choice(plan.users, plan.zipf_users, replace=False, shuffle=True)


def draw_users(plan: Plan, draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Users of so many requests."""
    skewed = popular_users(plan)[zipf(draw, plan.zipf_users, count)]
    return np.where(draw.random(count) < UNIFORM, draw.integers(plan.users, size=count), skewed)


def draw_asks(
    plan: Plan, mix: Mix, catalogue: Sequence[str], phase: int, count: int = DRAWN
) -> list[Ask]:
    """So many requests; another `phase` draws others.

    In a phase a user takes items of one of the clusters that the user's history is made of.
    """
    draw = np.random.default_rng([plan.seed, 5, phase])
    users = draw_users(plan, draw, count)
    events = draw.random(count) * sum(mix) >= mix[0]
    world = World(sorted(catalogue), plan.seed)
    takers = users[events]
    clusters = tastes_of(plan, world, takers)[np.arange(len(takers)), (takers + phase) % TASTES]
    items: list[str | None] = [None] * count
    for place, item in zip(
        np.flatnonzero(events).tolist(), world.taken(draw, clusters).tolist(), strict=True
    ):
        items[place] = json.dumps(world.ids[item])
    return [Ask(user_id(user), item) for user, item in zip(users.tolist(), items, strict=True)]

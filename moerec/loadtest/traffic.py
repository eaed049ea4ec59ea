"""Which requests come: users by popularity, reads and events in their proportion."""

import json
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.loadtest.plan import UNIFORM, Mix, Plan
from moerec.loadtest.requests import Ask
from moerec.loadtest.synthetic import zipf
from moerec.loadtest.users import user_id

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
    """So many requests; another `phase` draws others."""
    draw = np.random.default_rng([plan.seed, 5, phase])
    users = draw_users(plan, draw, count).tolist()
    events = (draw.random(count) * sum(mix) >= mix[0]).tolist()
    items = draw.integers(len(catalogue), size=count).tolist()
    return [
        Ask(user_id(user), json.dumps(catalogue[item]) if event else None)
        for user, event, item in zip(users, events, items, strict=True)
    ]

"""Small logs for tests, with something to learn in them."""

import numpy as np
import polars as pl

from moerec.data.id_map import IdMap, build_id_map
from moerec.data.interactions import Interactions, from_frame
from moerec.data.sequences import Histories, build_histories


def walking_log(users: int = 60, items: int = 30, events: int = 14, seed: int = 0) -> pl.DataFrame:
    """Users who walk a circle of items: mostly one step forward, now and then a leap."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, items, users)
    leaps = rng.random((users, events)) < 0.1
    steps = np.where(leaps, rng.integers(2, items, (users, events)), 1)
    places = (start[:, None] + np.cumsum(steps, axis=1)) % items
    return pl.DataFrame(
        {
            "user_id": [f"user{user}" for user in range(users) for _ in range(events)],
            "item_id": [f"item{place}" for place in places.ravel().tolist()],
            "timestamp": np.tile(np.arange(events) * 60_000, users) + 1_600_000_000_000,
        }
    )


def rated_log(users: int = 120, items: int = 30, events: int = 20, seed: int = 0) -> pl.DataFrame:
    """Values 1 to 5: half of the users like the even items, half the odd ones, and some items are better."""
    log = walking_log(users, items, events, seed)
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), events)
    item = log.get_column("item_id").str.strip_prefix("item").cast(pl.Int64).to_numpy()
    agrees = (user + item) % 2 == 0
    value = 2.2 + 1.6 * agrees + 0.8 * (item < items / 3) + rng.normal(0, 0.5, len(log))
    return log.with_columns(rating=np.clip(np.round(value), 1, 5))


def walking_interactions(users: int = 60, **sizes: int) -> Interactions:
    """The same, read."""
    return from_frame(walking_log(users, **sizes))


def with_histories(interactions: Interactions) -> tuple[IdMap, Histories]:
    """The id map and the histories of a log."""
    id_map = build_id_map(interactions)
    return id_map, build_histories(interactions, id_map)

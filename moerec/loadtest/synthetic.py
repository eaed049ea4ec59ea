"""A seeded world of items and users with tastes: histories that a model can learn something from.

Items lie in clusters; within a cluster their popularity falls by Zipf's law. A user has three clusters,
stays in one for a while, and often takes the item that follows the last one there.

Letters: U users, T events of the longest history, V items, C clusters, S tastes.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

CLUSTER: Final = 200
"""Items of a cluster."""

TASTES: Final = 3
STAY: Final = 0.75
"""The chance that the next event is in the cluster of the last one."""

FOLLOW: Final = 0.4
"""The chance that it is the item after the last one, where it stays."""

START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 6 * 3_600_000

Ints = NDArray[np.int64]


def zipf(draw: np.random.Generator, ranks: int, size: int | tuple[int, ...]) -> Ints:
    """Ranks from 0 whose chance falls as 1 / (rank + 1), by the inverse of the logarithm."""
    found = np.floor((ranks + 1.0) ** draw.random(size)).astype(np.int64) - 1
    return np.minimum(found, ranks - 1)


def lengths(draw: np.random.Generator, users: int, fewest: int, most: int) -> Ints:
    """How many events each user has, uniformly."""
    return draw.integers(fewest, most + 1, users)


class World:
    """The items `ids` in clusters, the same for the same seed and number of items."""

    def __init__(self, ids: Sequence[str], seed: int) -> None:
        self.ids = list(ids)
        self._order = np.random.default_rng([seed, 1]).permutation(len(ids))
        self._clusters = max(len(ids) // CLUSTER, 1)

    def tastes(self, draw: np.random.Generator, users: int) -> Ints:
        """The clusters of U users, int64 [U, S]: what `histories` draws first."""
        return zipf(draw, self._clusters, (users, TASTES))

    def taken(self, draw: np.random.Generator, clusters: Ints) -> Ints:
        """An item of each of the clusters, by popularity there."""
        return self._items(clusters, zipf(draw, CLUSTER, len(clusters)))

    def histories(self, draw: np.random.Generator, users: int, events: int) -> Ints:
        """Items (places in `ids`) of U users, int64 [U, T]: the prefix of a row is a history too."""
        tastes = self.tastes(draw, users)
        everyone = np.arange(users)
        cluster = tastes[:, 0]
        rank = zipf(draw, CLUSTER, users)
        found = np.empty((users, events), np.int64)
        for step in range(events):
            found[:, step] = self._items(cluster, rank)
            stays = draw.random(users) < STAY
            follows = stays & (draw.random(users) < FOLLOW)
            cluster = np.where(stays, cluster, tastes[everyone, draw.integers(TASTES, size=users)])
            rank = np.where(follows, (rank + 1) % CLUSTER, zipf(draw, CLUSTER, users))
        return found

    def walks(self, events: int) -> Ints:
        """Every item once, cluster after cluster, as histories of `events` items [U, T]."""
        return self._order[np.arange(-(-len(self.ids) // events) * events) % len(self.ids)].reshape(
            -1, events
        )

    def _items(self, cluster: Ints, rank: Ints) -> Ints:
        # The last cluster is the longer by what does not make a cluster of its own.
        places: Ints = self._order[(cluster * CLUSTER + rank) % len(self.ids)]
        return places


def times(draw: np.random.Generator, users: int, events: int) -> Ints:
    """UTC ms [U, T], growing along each row."""
    gaps = draw.integers(60_000, STEP_MS, (users, events))
    return START_MS + np.cumsum(gaps, axis=1)


def training_log(world: World, events: int, seed: int) -> pl.DataFrame:
    """About so many events in histories of 25, and every item at least once, as a log's columns."""
    draw = np.random.default_rng([seed, 2])
    walked = world.walks(25)
    users = max(events // 25 - len(walked), 200)
    items = np.concatenate([walked, world.histories(draw, users, 25)])
    count = len(items)
    return pl.DataFrame(
        {
            "user_id": np.repeat([f"t{user:07}" for user in range(count)], 25),
            "item_id": np.array(world.ids, dtype=object)[items.ravel()].tolist(),
            "timestamp": times(draw, count, 25).ravel(),
        }
    )

"""What the kernels work on: the arena of kept states, and the new events of some users.

Letters: N new events, B users, D width, n layers, W window, S slots of the arena, P >= W places of a user's
ring.

A user's event number p stands at place p % P of the ring, in the place of one that nobody sees any more.
Rows go in one after the other, and each looks at the ring as it is then: a history that comes at once and
one that comes event by event are worked alike.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled
from moerec.models.config import ModelConfig

Stored = NDArray[np.int8 | np.float32]
StoredType = type[np.int8 | np.float32]


class Arena(NamedTuple):
    """What is kept of S users.

    * `keys_SnDP`, `values_SnPD`: of the newest P events, by layer. Keys stand upright, so that a query meets
      all of them a coordinate at a time. int8, or float32 with scales of 1;
    * `key_scales_SnP`, `value_scales_SnP`: what one step of such a key or value is worth;
    * `times_SP`: when those events were, UTC ms;
    * `summary_SD`: the router's summary after the newest event;
    * `count_S`: events so far, without those that a rebuild left out; 0 where the ring is to be filled anew.
    """

    keys_SnDP: Stored
    values_SnPD: Stored
    key_scales_SnP: Floats
    value_scales_SnP: Floats
    times_SP: Ints
    summary_SD: Floats
    count_S: Ints


def places(window: int) -> int:
    """P, the places of a ring: the window rounded up to what goes through the vector lanes."""
    return -(-window // 8) * 8


def bytes_a_user(config: ModelConfig, stored: StoredType = np.int8) -> int:
    """What an arena takes for each slot."""
    P = places(config.window)
    a_place = 2 * config.layers * (config.dim * np.dtype(stored).itemsize + 4) + 8
    return P * a_place + config.dim * 4 + 8


def new_arena(config: ModelConfig, slots: int, stored: StoredType = np.int8) -> Arena:
    """An arena for so many users, all slots fresh. Memory that no user has filled is not taken yet."""
    P = places(config.window)
    by_place = (slots, config.layers, P)
    return Arena(
        np.zeros((slots, config.layers, config.dim, P), stored),
        np.zeros((slots, config.layers, P, config.dim), stored),
        np.zeros(by_place, np.float32),
        np.zeros(by_place, np.float32),
        np.zeros((slots, P), np.int64),
        np.zeros((slots, config.dim), np.float32),
        np.zeros(slots, np.int64),
    )


class NewEvents(NamedTuple):
    """New events of B users, each at least one, oldest first, user after user.

    User b has `items_N[starts_B[b]:ends_B[b]]` and slot `slots_B[b]`; the first `skip_B[b]` of them
    feed the router's summary alone, and the slot's count is 0 where there are such.
    """

    items_N: Ints
    times_N: Ints
    starts_B: Ints
    ends_B: Ints
    skip_B: Ints
    slots_B: Ints


class Limits(NamedTuple):
    """What the rows of B users may wake.

    * `masked_BnE`: experts that must not run, by layer; at least `min_experts` of a layer are not among them;
    * `most_B`: how many may run in a layer, from `min_experts` up.
    """

    masked_BnE: NDArray[np.bool_]
    most_B: Ints


class Rows(NamedTuple):
    """Which row of which user: for the layer at hand, the rows that are worked on, in order."""

    row_N: Ints
    user_N: Ints


@compiled
def newest_rows(new: NewEvents, most: int) -> Rows:
    """The newest `most` rows of each user, at most those that are not skipped."""
    total = 0
    for user in range(len(new.starts_B)):
        total += min(most, new.ends_B[user] - new.starts_B[user] - new.skip_B[user])
    row_N, user_N = np.empty(total, np.int64), np.empty(total, np.int64)
    place = 0
    for user in range(len(new.starts_B)):
        end = new.ends_B[user]
        for row in range(max(new.starts_B[user] + new.skip_B[user], end - most), end):
            row_N[place], user_N[place] = row, user
            place += 1
    return Rows(row_N, user_N)

"""The baselines for "liked" on planted tastes."""

import tracemalloc

import numpy as np

from moerec.data.interactions import from_frame
from moerec.data.sequences import History
from moerec.evaluation.factorisation import (
    ItemLiking,
    MatrixFactorisation,
    RatedEvents,
    rated_events,
)
from tests.logs import rated_log, with_histories


def test_an_item_s_share_is_shrunken_and_the_same_for_all() -> None:
    _, histories = with_histories(from_frame(rated_log()))
    rated = rated_events(histories, histories.lengths.astype(np.int32))
    scorer = ItemLiking(rated, 30, 3.0)
    asked = np.arange(1, 31, dtype=np.int32)
    one, other = scorer.liked([History.of_items([1]), History.of_items([2])], [asked, asked])
    assert np.array_equal(one, other)
    assert ((one > 0) & (one < 1)).all()


def test_factorisation_tells_the_two_kinds_of_users_apart() -> None:
    _, histories = with_histories(from_frame(rated_log()))
    lengths = histories.lengths.astype(np.int32) - 4
    scorer = MatrixFactorisation(rated_events(histories, lengths), 30, factors=4)
    right = []
    for user in range(len(histories.users)):
        history = histories.history_of(user)
        past, later = history[: lengths[user]], history[lengths[user] :]
        (expected,) = scorer.liked([past], [later.items])
        if later.values.min() < later.values.max():
            right.append(later.values[expected.argmax()] > later.values[expected.argmin()])
    assert np.mean(right) > 0.8


def test_only_rated_training_events_count() -> None:
    _, histories = with_histories(from_frame(rated_log(users=3)))
    assert len(rated_events(histories, np.array([2, 0, 5], np.int32)).users) == 7


def test_memory_does_not_grow_with_the_square_of_the_factors() -> None:
    """At a million items `moerec evaluate` held 24 x 24 numbers of each, 2.3 GB."""
    catalogue, factors = 50_000, 8
    items, values = np.arange(1, 101, dtype=np.int32), np.arange(100, dtype=np.float32)
    tracemalloc.start()
    try:
        MatrixFactorisation(
            RatedEvents(np.arange(100) // 10, items, values), catalogue, factors=factors
        )
        assert tracemalloc.get_traced_memory()[1] < 4 * catalogue * factors**2
    finally:
        tracemalloc.stop()

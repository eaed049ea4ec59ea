"""Counting what follows what."""

import numpy as np
import pytest

from moerec.training.transitions import transition_table


def test_the_table_holds_the_most_frequent_followers_and_their_chances() -> None:
    """By hand: 2 follows 1 at distance 1 twice, 3 follows 1 at distance 2 once, at distance 1 once."""
    train = [np.array([1, 2, 3], np.int32), np.array([1, 2], np.int32), np.array([1, 3], np.int32)]
    items, chances = transition_table(train, catalogue=4, neighbors=2)
    assert items[1].tolist() == [2, 3]
    mass = 2 + 0.85 + 1
    assert chances[1].tolist() == pytest.approx([2 / (mass + 20), 1.85 / (mass + 20)])
    assert items[2].tolist() == [3, 0]
    assert chances[2].tolist() == pytest.approx([1 / 21, 0])
    assert not items[[0, 3, 4]].any()


def test_only_the_best_neighbours_are_kept() -> None:
    train = [np.array([1, item], np.int32) for item in (2, 3, 3, 4, 4, 4)]
    items, chances = transition_table(train, catalogue=4, neighbors=2)
    assert items[1].tolist() == [4, 3]
    # The mass counts the dropped follower as well: its chance is not given to the others.
    assert chances[1].tolist() == pytest.approx([3 / 26, 2 / 26])


def test_a_log_without_transitions_gives_an_empty_table() -> None:
    items, chances = transition_table([np.array([1], np.int32)], catalogue=2, neighbors=3)
    assert not items.any()
    assert not chances.any()

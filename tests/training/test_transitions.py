"""Counting what follows what."""

import numpy as np
import pytest
from numpy.typing import NDArray

from moerec.training.transitions import TransitionCounts

Items = NDArray[np.int32]


def table(
    train: list[Items], catalogue: int, covisits: float = 0.0
) -> tuple[Items, NDArray[np.float32]]:
    """Two neighbours an item."""
    found = TransitionCounts(train, catalogue, 2).table(covisits)
    return found.items, found.chances


def test_the_table_holds_the_most_frequent_followers_and_their_chances() -> None:
    """By hand: 2 follows 1 at distance 1 twice, 3 follows 1 at distance 2 once, at distance 1 once."""
    train = [np.array([1, 2, 3], np.int32), np.array([1, 2], np.int32), np.array([1, 3], np.int32)]
    items, chances = table(train, catalogue=4)
    assert items[1].tolist() == [2, 3]
    mass = 2 + 0.85 + 1
    assert chances[1].tolist() == pytest.approx([2 / (mass + 20), 1.85 / (mass + 20)])
    assert items[2].tolist() == [3, 0]
    assert chances[2].tolist() == pytest.approx([1 / 21, 0])
    assert not items[[0, 3, 4]].any()


def test_only_the_best_neighbours_are_kept() -> None:
    train = [np.array([1, item], np.int32) for item in (2, 3, 3, 4, 4, 4)]
    items, chances = table(train, catalogue=4)
    assert items[1].tolist() == [4, 3]
    # The mass counts the dropped follower as well: its chance is not given to the others.
    assert chances[1].tolist() == pytest.approx([3 / 26, 2 / 26])


def test_a_log_without_transitions_gives_an_empty_table() -> None:
    items, chances = table([np.array([1], np.int32)], catalogue=2)
    assert not items.any()
    assert not chances.any()


def test_covisits_count_in_both_directions() -> None:
    """By hand: users 1 and 2 share items 1 and 2; nearness 2 / (2 + 10) is all that item 2 has."""
    train = [np.array([1, 2], np.int32), np.array([1, 2], np.int32)]
    items, chances = table(train, catalogue=2, covisits=0.4)
    assert items[1].tolist() == [2, 0]
    assert items[2].tolist() == [1, 0]
    assert chances[2].tolist() == pytest.approx([0.4, 0.0])
    assert chances[1].tolist() == pytest.approx([0.6 * 2 / 22 + 0.4, 0.0])


def test_without_covisits_nothing_leads_back() -> None:
    items, _ = table([np.array([1, 2], np.int32)], catalogue=2)
    assert not items[2].any()

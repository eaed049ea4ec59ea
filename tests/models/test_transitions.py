"""The table beside the network, against the formula."""

import math

import pytest
import torch

from moerec.models.transitions import Transitions, shares

TABLE = Transitions(items=5, neighbors=2)
TABLE.neighbors.copy_(
    torch.tensor([[0, 0], [2, 3], [3, 0], [0, 0], [1, 5], [4, 1]], dtype=torch.int32)
)
TABLE.chances.copy_(
    torch.tensor([[0, 0], [0.5, 0.25], [0.5, 0], [0, 0], [0.75, 0.125], [0.25, 0.25]])
)


def test_the_last_items_count_less_with_age_and_sum_to_one() -> None:
    recent = torch.tensor([[3, 1, 2], [4, 0, 0]])
    total = 1 + 0.8 + 0.64
    expected = torch.tensor([[1 / total, 0.8 / total, 0.64 / total], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(shares(recent), expected)


def test_the_chance_of_an_item_adds_up_over_the_last_items() -> None:
    """Item 3 follows 1 and 2: both count, each by its age."""
    chance = TABLE.chance(torch.tensor([[2, 1]]))
    new, old = 1 / 1.8, 0.8 / 1.8
    assert chance[0, 1:].tolist() == pytest.approx([0, old * 0.5, new * 0.5 + old * 0.25, 0, 0])


def test_scores_are_the_mixture_and_cosines_where_nothing_follows() -> None:
    cosines = torch.tensor([[0.0, 0.3, -0.2, 0.1, 0.9, 0.4]])
    TABLE.weight.fill_(40.0)
    mixed = TABLE.mix(cosines, torch.tensor([[4]]), temperature=0.1)
    expected = [
        0.1 * math.log(math.exp(3.0) + 40 * 0.75),
        -0.2,
        0.1,
        0.9,
        0.1 * math.log(math.exp(4.0) + 40 * 0.125),
    ]
    assert mixed[0, 1:].tolist() == pytest.approx(expected, abs=1e-6)


def test_weight_zero_leaves_the_cosines_alone() -> None:
    TABLE.weight.fill_(0.0)
    cosines = torch.randn(3, 6)
    assert torch.equal(TABLE.mix(cosines, torch.tensor([[1], [2], [4]]), 0.1), cosines)

"""Which table there is, and what stands out in it."""

import numpy as np
import pytest

from moerec.evaluation.specialisation import MOST_CATEGORIES, Specialisation, by_category

TOKENS = np.array([0, 10, 20, 30])
AWAKE = np.array([[[0, 0], [10, 0], [5, 15], [15, 15]]])
RATE = np.array([[0.5, 0.5]])


def test_an_item_counts_in_each_of_its_categories_once() -> None:
    table = by_category([["a", "b", "b"], ["b"], []], TOKENS, AWAKE, RATE)
    assert table is not None
    assert table.values == ["b", "a"]  # the most frequent first
    assert table.tokens_A.tolist() == [30, 10]
    assert table.awake_LAE.tolist() == [[[15, 15], [10, 0]]]
    assert table.lift_LAE.tolist() == [[[1.0, 1.0], [2.0, 0.0]]]


@pytest.mark.parametrize("categories", [[[], [], []], [["a"], [], []]])
def test_no_event_with_a_category_is_no_table(categories: list[list[str]]) -> None:
    unseen = np.array([0, 0, 20, 30])
    assert by_category(categories, unseen, AWAKE, RATE) is None


def test_only_the_most_frequent_categories() -> None:
    categories = [[f"c{number}" for number in range(40)], ["top"], []]
    table = by_category(categories, TOKENS, AWAKE, RATE)
    assert table is not None
    assert len(table.values) == MOST_CATEGORIES
    assert table.values[0] == "top"


def test_what_stands_out_is_not_a_rarity() -> None:
    table = Specialisation(
        "kind",
        ["rare", "frequent"],
        np.array([1, 999]),
        np.array([[[1, 0], [300, 800]]]),
        np.array([[0.3, 0.7]]),
    )
    assert table.strongest(0) == (1, "frequent", pytest.approx(800 / 999 / 0.7))
    assert table.strongest(0, least_share=0.0) == (0, "rare", pytest.approx(1 / 0.3))
    silent = Specialisation(
        "kind", ["x"], np.array([9]), np.zeros((1, 1, 1), int), np.zeros((1, 1))
    )
    assert silent.strongest(0) is None
    assert silent.to_dict()["lift"] == [[[None]]]

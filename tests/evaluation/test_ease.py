"""EASE against its definition: each column is a ridge regression on the other items."""

import numpy as np
import pytest
from numpy.typing import NDArray

from moerec.data.sequences import History
from moerec.errors import UsageError
from moerec.evaluation.ease import EASE, LARGEST_CATALOGUE

Items = NDArray[np.int32]


def items(*numbers: int) -> Items:
    return np.array(numbers, np.int32)


def after(*histories: Items) -> list[History]:
    return [History.of_items(history) for history in histories]


def log(users: int = 60, catalogue: int = 8) -> tuple[list[Items], NDArray[np.float64]]:
    """Histories, and their binary matrix without the padding."""
    rng = np.random.default_rng(3)
    train = [
        rng.integers(1, catalogue + 1, rng.integers(0, 7)).astype(np.int32) for _ in range(users)
    ]
    matrix = np.zeros((users, catalogue))
    for user, history in enumerate(train):
        matrix[user, history - 1] = 1
    return train, matrix


def test_each_column_is_a_ridge_regression_on_the_others() -> None:
    """Solved one by one in float64, without the closed form's trick."""
    train, matrix = log()
    expected = np.zeros((8, 8))
    for target in range(8):
        others = [item for item in range(8) if item != target]
        gram = matrix[:, others].T @ matrix[:, others] + 5.0 * np.eye(7)
        expected[others, target] = np.linalg.solve(gram, matrix[:, others].T @ matrix[:, target])
    found = EASE(train, 8, penalty=5.0).scores(after(*(items(item) for item in range(1, 9))))
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)
    assert (found[:, 0] == 0).all()
    assert found.dtype == np.float32


def test_scores_add_up_over_a_history_in_any_order() -> None:
    train, _ = log()
    ease = EASE(train, 8)
    one, two, both, turned, nothing = ease.scores(
        after(items(2), items(5), items(2, 5), items(5, 2, 2, 5), items())
    )
    np.testing.assert_allclose(one + two, both, atol=1e-6)
    np.testing.assert_array_equal(both, turned)
    assert nothing.tolist() == [0.0] * 9


def test_an_item_without_events_gets_nothing() -> None:
    ease = EASE([items(1, 2), items(1, 2, 3)], 5)
    assert ease.scores(after(items(1, 2, 3)))[0, 4:].tolist() == [0.0, 0.0]
    assert not ease.scores(after(items(5))).any()


def test_nothing_to_learn_from() -> None:
    assert EASE([], 3).scores(after(items(2, 1))).tolist() == [[0.0] * 4]


def test_a_large_catalogue_is_refused_before_it_takes_memory() -> None:
    """A matrix of ten million items squared would be 364 TiB."""
    with pytest.raises(UsageError, match=r"10,000,000 items are too many") as refused:
        EASE([items(1, 2)], 10_000_000)
    assert f"{LARGEST_CATALOGUE:,}" in refused.value.remedy


def test_a_penalty_that_leaves_no_inverse() -> None:
    """Two items that always come together: without a penalty the matrix is singular."""
    with pytest.raises(UsageError, match="no inverse"):
        EASE([items(1, 2)] * 4, 2, penalty=0.0)

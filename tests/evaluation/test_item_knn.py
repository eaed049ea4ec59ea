"""item-kNN against its definition by loops."""

import numpy as np
import pytest
from numpy.typing import NDArray

from moerec.data.sequences import History
from moerec.evaluation.item_knn import BLOCK_PAIRS, ItemKNN, nearest_items

Items = NDArray[np.int32]


def items(*numbers: int) -> Items:
    return np.array(numbers, np.int32)


def after(*histories: Items) -> list[History]:
    return [History.of_items(history) for history in histories]


def random_histories(users: int, catalogue: int, seed: int = 0) -> list[Items]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(1, catalogue + 1, rng.integers(0, 9)).astype(np.int32) for _ in range(users)
    ]


def by_loops(
    train: list[Items], catalogue: int, neighbours: int, shrinkage: float
) -> NDArray[np.float64]:
    """Nearness by its definition: sets of users, a sorted list for each item."""
    users = [
        {user for user, history in enumerate(train) if item in history}
        for item in range(catalogue + 1)
    ]
    nearness = np.zeros((catalogue + 1, catalogue + 1))
    for one in range(1, catalogue + 1):
        others = []
        for other in range(1, catalogue + 1):
            both = len(users[one] & users[other])
            if other != one and both:
                norm = np.sqrt(len(users[one]) * len(users[other])) + shrinkage
                others.append((-both / norm, other))
        for value, other in sorted(others)[:neighbours]:
            nearness[one, other] = -value
    return nearness


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(2, 0.0), (3, 2.5), (50, 1.0)])
def test_neighbours_by_their_definition(neighbours: int, shrinkage: float) -> None:
    train = random_histories(40, 12)
    found = nearest_items(train, 12, neighbours, shrinkage).toarray()
    np.testing.assert_allclose(found, by_loops(train, 12, neighbours, shrinkage), rtol=1e-6)
    assert (np.count_nonzero(found, axis=1) <= neighbours).all()


def test_scores_add_up_the_nearness_to_what_was_visited() -> None:
    train = random_histories(30, 9, seed=1)
    nearness = by_loops(train, 9, 4, 1.0)
    knn = ItemKNN(nearest_items(train, 9, 4, 1.0), recency_decay=0.5)
    found = knn.scores(after(items(4, 2, 4, 7), items(), items(9)))
    expected = nearness[7] + 0.5 * nearness[4] + 0.25 * nearness[2]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-7)
    assert found[1].tolist() == [0.0] * 10
    np.testing.assert_allclose(found[2], nearness[9], rtol=1e-6)
    assert found.dtype == np.float32


def test_equal_neighbours_by_the_lower_index() -> None:
    """Items 2 to 5 are equally near to item 1: the first two stay, at every run."""
    train = [items(1, other) for other in (5, 4, 3, 2)]
    found = nearest_items(train, 5, 2, 0.0).toarray()
    assert np.flatnonzero(found[1]).tolist() == [2, 3]


def test_shrinkage_lets_many_users_speak_louder() -> None:
    """One user of a rare pair is a cosine of 1; ten users of a common pair should count for more."""
    train = [items(1, 2)] + [items(3, 4)] * 10 + [items(3)] * 2
    plain = nearest_items(train, 4, 5, 0.0).toarray()
    shrunk = nearest_items(train, 4, 5, 3.0).toarray()
    assert plain[1, 2] > plain[3, 4]
    assert shrunk[1, 2] < shrunk[3, 4]


def test_many_items_are_compared_block_by_block() -> None:
    """Pairs that do not fit one block give the neighbours that those of one block give."""
    catalogue, long = 2_500, 2_000
    rng = np.random.default_rng(2)
    train = [rng.integers(1, catalogue + 1, 6).astype(np.int32) for _ in range(800)]
    train += [rng.permutation(catalogue)[:long].astype(np.int32) + 1 for _ in range(3)]
    assert 3 * long**2 > 2 * BLOCK_PAIRS
    found = nearest_items(train, catalogue, 3, 1.0)
    asked = [*rng.integers(1, catalogue + 1, 5).tolist(), catalogue]
    for item in asked:
        with_item = [history for history in train if item in history]
        counts = np.zeros(catalogue + 1)
        for history in with_item:
            counts[np.unique(history)] += 1
        of_all = np.array([0] + [0] * catalogue)
        for history in train:
            of_all[np.unique(history)] += 1
        with np.errstate(invalid="ignore"):
            nearness = counts / (np.sqrt(counts[item] * of_all) + 1.0)
        nearness[item] = 0.0
        best = [other for other in np.argsort(-nearness, kind="stable")[:3] if nearness[other] > 0]
        assert np.flatnonzero(found[[item]].toarray()[0]).tolist() == sorted(best)


def test_nothing_to_learn_from() -> None:
    knn = ItemKNN(nearest_items([], 3, 5, 1.0))
    assert knn.scores(after(items(2, 1))).tolist() == [[0.0] * 4]
    assert knn.scores([]).shape == (0, 4)


def test_a_large_catalogue_costs_what_is_visited() -> None:
    """Blocks had as many items as their dense pairs allowed, of 1,000,000 items three: a table took hours."""
    catalogue = 1_000_000
    train = [np.arange(first, catalogue, 20_000, dtype=np.int32) + 1 for first in range(4)]
    found = nearest_items(train, catalogue, 2, 0.0)
    assert found.nnz == 2 * sum(map(len, train))

"""The matrix of visits, by loops and by its edges."""

import numpy as np

from moerec.evaluation.visits import visits


def items(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(numbers, np.int32)


def test_every_visited_item_counts_one() -> None:
    found = visits([items(2, 1, 2), items(), items(3)], 3).toarray()
    assert found.tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_older_visits_count_less_and_repeated_items_by_their_last() -> None:
    found = visits([items(2, 1, 2, 3), items(1)], 3, 0.5).toarray()
    assert found.tolist() == [[0, 0.25, 0.5, 1], [0, 1, 0, 0]]


def test_long_histories_end_in_zero_without_a_warning() -> None:
    found = visits([np.arange(1, 5_001, dtype=np.int32)], 5_000, 0.4).toarray()
    assert found[0, -2:].tolist() == [np.float32(0.4), 1.0]
    assert found[0, 1] == 0.0


def test_no_histories() -> None:
    assert visits([], 4).shape == (0, 5)

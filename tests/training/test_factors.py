"""Factor analysis finds planted tastes, and uses vectors where marks are few."""

import tracemalloc

import numpy as np

from moerec.training.factors import Marks, fit_factors


def planted(seed: int = 0) -> tuple[Marks, np.ndarray]:
    """200 users, 50 items, tastes of 2 numbers, a third of the marks known; the noiseless marks."""
    rng = np.random.default_rng(seed)
    truth = 3 + rng.normal(size=(200, 2)) @ rng.normal(size=(2, 50)) + rng.normal(size=50)
    users, items = np.nonzero(rng.random(truth.shape) < 0.34)
    marks = truth[users, items] + rng.normal(0, 0.3, len(users))
    return Marks(users, (items + 1).astype(np.int32), marks.astype(np.float32)), truth


def expected(given: Marks, vectors: np.ndarray, item_vectors: np.ndarray) -> np.ndarray:
    """Marks [U, V] that the analysis expects."""
    found = fit_factors(given, vectors, item_vectors, 4, seed=0)
    marks = np.zeros((len(vectors), len(item_vectors)))
    for user in range(len(vectors)):
        mine = given.users == user
        items = given.items[mine]
        loadings = found["loadings"][items]
        left = given.marks[mine] * found["precision"][items] - found["means"][items]
        prior = vectors[user] @ found["expected"][:-1] + found["expected"][-1]
        taste = np.linalg.solve(np.eye(4) + loadings.T @ loadings, loadings.T @ left + prior)
        marks[user] = (found["means"] + found["loadings"] @ taste) / found["precision"]
    return marks[:, 1:]


def test_it_finds_planted_tastes() -> None:
    given, truth = planted()
    found = expected(given, np.zeros((200, 1), np.float32), np.zeros((51, 1), np.float32))
    assert np.sqrt(((found - truth) ** 2).mean()) < 0.5 * truth.std(axis=0).mean()


def test_an_item_without_a_mark_is_what_its_vector_says() -> None:
    """Two kinds of items, told apart by their vectors; the last one was never rated."""
    rng = np.random.default_rng(0)
    kind = np.arange(1, 402) % 2
    users, items = np.nonzero(rng.random((300, 400)) < 0.2)
    marks = (2.0 + 2.0 * kind[items] + rng.normal(0, 0.5, len(users))).astype(np.float32)
    vectors = np.zeros((402, 2), np.float32)
    vectors[np.arange(1, 402), kind] = 1.0
    given = Marks(users, (items + 1).astype(np.int32), marks)
    found = fit_factors(given, np.zeros((300, 1), np.float32), vectors, 2, seed=0)
    assert found["means"][401] / found["precision"][401] > 3.0
    assert kind[400] == 0 or found["means"][401] > 0


def test_marks_that_are_all_the_same_are_survived() -> None:
    given = Marks(np.array([0, 0, 1]), np.array([1, 2, 1], np.int32), np.ones(3, np.float32))
    found = fit_factors(given, np.zeros((2, 1), np.float32), np.zeros((3, 1), np.float32), 2, 0)
    assert all(np.isfinite(array).all() for array in found.values())


def test_memory_does_not_grow_with_the_square_of_the_factors() -> None:
    """At a million items the matrices of all items, 16 x 16 numbers each, and copies of their vectors took
    another gigabyte and a half."""
    rows, factors = 50_001, 8
    given = Marks(
        np.arange(100) // 10, np.arange(1, 101, dtype=np.int32), np.arange(100, dtype=np.float32)
    )
    vectors = np.zeros((10, 1), np.float32), np.zeros((rows, 1), np.float32)
    tracemalloc.start()
    try:
        fit_factors(given, *vectors, factors, seed=0)
        assert tracemalloc.get_traced_memory()[1] < 4 * rows * factors**2
    finally:
        tracemalloc.stop()

"""What "liked" is measured against: how liked an item is by all, and biased matrix factorisation.

value of user u for item i, standardised = b_u + b_i + p_u . q_i, by alternating least squares (Koren,
Bell and Volinsky 2009, IEEE Computer 42(8)), every vector with the same ridge.

Letters: U users, V items (row 0 is the padding), N values, F factors, n events of a history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.data.sequences import Histories, History

FACTORS: Final = 24
RIDGE: Final = 15.0
BIAS_SHRINKAGE: Final = 5.0
ROUNDS: Final = 8
BIAS_ROUNDS: Final = 10
CHUNK: Final = 4_096
"""Users or items whose F x F matrices are in memory at a time."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RatedEvents:
    """N events with a value: row `users` int64 [N] of the log, item index `items` int32 [N]."""

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    values: Floats


def rated_events(histories: Histories, train_lengths: NDArray[np.int32]) -> RatedEvents:
    """The events with a value among the first `train_lengths[u]` of each user; known items alone."""
    users = np.repeat(np.arange(len(histories.users)), histories.lengths)
    place = np.arange(len(users)) - histories.offsets[users]
    kept = (place < train_lengths[users]) & (histories.items != 0) & ~np.isnan(histories.values)
    return RatedEvents(users[kept], histories.items[kept], histories.values[kept])


class ItemLiking:
    """An item is liked as it was by those who rated it, whoever asks."""

    name = "item's share liked"

    def __init__(self, rated: RatedEvents, catalogue: int, liked_from: float) -> None:
        likes = rated.values >= liked_from
        sums = np.bincount(rated.items, likes, catalogue + 1) + BIAS_SHRINKAGE * likes.mean()
        counts = np.bincount(rated.items, minlength=catalogue + 1) + BIAS_SHRINKAGE
        self._share_V = (sums / counts).astype(np.float32)

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[Floats]:
        """The share of each candidate's raters who liked it."""
        del histories  # whoever asks
        return [self._share_V[items] for items in candidates]


class MatrixFactorisation:
    """A user's side is computed from a history, so that anybody can be asked for.

    * `mean`, `std` of the values;
    * `item_biases` float32 [V + 1] and `item_factors` float32 [V + 1, F], of standardised values.
    """

    name = "matrix factorisation"

    def __init__(
        self, rated: RatedEvents, catalogue: int, *, factors: int = FACTORS, seed: int = 0
    ) -> None:
        """The values of `rated` must not be all the same."""
        items, values = rated.items, rated.values
        self.mean = float(values.mean())
        self.std = float(values.std())
        standard = (values - self.mean) / self.std
        _, rows = np.unique(rated.users, return_inverse=True)
        U = int(rows.max()) + 1
        user_biases, self.item_biases = _biases(rows, items, standard, U, catalogue + 1)
        left = (standard - user_biases[rows] - self.item_biases[items]).astype(np.float32)
        shape = (U, catalogue + 1)
        sums = sparse.csr_array((left, (rows, items)), shape=shape)
        counts = sparse.csr_array((np.ones_like(left), (rows, items)), shape=shape)
        turned = sums.T.tocsr(), counts.T.tocsr()
        rng = np.random.default_rng(seed)
        self.item_factors = rng.normal(0, 0.1, (catalogue + 1, factors)).astype(np.float32)
        for _ in range(ROUNDS):
            user_factors = _regressed(sums, counts, self.item_factors)
            self.item_factors = _regressed(*turned, user_factors)

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[Floats]:
        """Expected standardised values of each history's candidates."""
        return [
            self._expected(history, items)
            for history, items in zip(histories, candidates, strict=True)
        ]

    def _expected(self, history: History, candidates: NDArray[np.int32]) -> Floats:
        rated = history[~np.isnan(history.values)]
        left = (rated.values - self.mean) / self.std - self.item_biases[rated.items]
        kindness = left.sum() / (len(rated) + BIAS_SHRINKAGE)
        factors = self.item_factors[rated.items]
        gram = factors.T @ factors + RIDGE * np.eye(factors.shape[1], dtype=np.float32)
        taste = np.linalg.solve(gram, factors.T @ (left - kindness))
        expected = self.item_biases[candidates] + self.item_factors[candidates] @ taste + kindness
        result: Floats = expected.astype(np.float32)
        return result


def _biases(
    rows: NDArray[np.int64], items: NDArray[np.int32], values: Floats, users: int, catalogue: int
) -> tuple[Floats, Floats]:
    """How far a user's and an item's values are from the mean, each given the other, shrunken."""
    of_users = np.zeros(users)
    of_items = np.zeros(catalogue)
    per_user = np.bincount(rows, minlength=users) + BIAS_SHRINKAGE
    per_item = np.bincount(items, minlength=catalogue) + BIAS_SHRINKAGE
    for _ in range(BIAS_ROUNDS):
        of_items = np.bincount(items, values - of_users[rows], catalogue) / per_item
        of_users = np.bincount(rows, values - of_items[items], users) / per_user
    return of_users.astype(np.float32), of_items.astype(np.float32)


def _regressed(sums: sparse.csr_array, counts: sparse.csr_array, factors: Floats) -> Floats:
    """For each row, the ridge regression of its values on the factors of their columns.

    `sums` holds the values, those of a place added up, `counts` how many they are.
    """
    found = np.zeros((counts.shape[0], factors.shape[1]), np.float32)
    ridge = RIDGE * np.eye(factors.shape[1], dtype=np.float32)
    for start in range(0, len(found), CHUNK):
        part = slice(start, start + CHUNK)
        gram, right = _grams(counts[part], factors) + ridge, sums[part] @ factors
        found[part] = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
    return found


def _grams(counts: sparse.csr_array, factors: Floats) -> Floats:
    """For each row of `counts` the sum of the outer products of its columns' factors, [rows, F, F].

    Made of the columns that occur, and one line of all matrices after the other: the outer products of
    every column would be F times the factors.
    """
    rows, F = counts.shape[0], factors.shape[1]
    columns, places = np.unique(counts.indices, return_inverse=True)
    given = sparse.csr_array((counts.data, places, counts.indptr), shape=(rows, len(columns)))
    theirs = factors[columns]
    grams = np.empty((rows, F, F), np.float32)
    for line in range(F):
        grams[:, line] = given @ (theirs[:, line : line + 1] * theirs)
    return grams

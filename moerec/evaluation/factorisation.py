"""Biased matrix factorisation of the values of a log: the bar for "liked", and the head's first guess.

value of user u for item i, standardised = b_u + b_i + p_u . q_i, by alternating least squares (Koren,
Bell and Volinsky 2009, IEEE Computer 42(8)), every vector with the same ridge.

Letters: U users, V items (row 0 is the padding), N values, F factors, n events of a history.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.data.sequences import History

FACTORS: Final = 24
RIDGE: Final = 15.0
BIAS_SHRINKAGE: Final = 5.0
ROUNDS: Final = 8
BIAS_ROUNDS: Final = 10
CHUNK: Final = 4_096
"""Users or items whose F x F matrices are in memory at a time."""

Floats = NDArray[np.float32]


class MatrixFactorisation:
    """Learned from N values; a user's side is computed from a history, so that anybody can be asked for.

    * `mean`, `std` of the values;
    * `item_biases` float32 [V + 1] and `item_factors` float32 [V + 1, F], of standardised values.
    """

    name = "matrix factorisation"

    def __init__(
        self,
        users: NDArray[np.int64],
        items: NDArray[np.int32],
        values: Floats,
        catalogue: int,
        *,
        factors: int = FACTORS,
        seed: int = 0,
    ) -> None:
        """`users` are row numbers; `values` has no NaN and at least two different ones."""
        self.mean = float(values.mean())
        self.std = float(values.std())
        standard = (values - self.mean) / self.std
        _, rows = np.unique(users, return_inverse=True)
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
    F = factors.shape[1]
    outer = (factors[:, :, None] * factors[:, None, :]).reshape(len(factors), F * F)
    right = sums @ factors
    found = np.zeros_like(right)
    ridge = RIDGE * np.eye(F, dtype=np.float32)
    for start in range(0, counts.shape[0], CHUNK):
        part = slice(start, start + CHUNK)
        gram = (counts[part] @ outer).reshape(-1, F, F) + ridge
        found[part] = np.linalg.solve(gram, right[part][:, :, None])[:, :, 0]
    return np.asarray(found, dtype=np.float32)

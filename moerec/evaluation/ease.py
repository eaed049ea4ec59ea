"""EASE: the linear autoencoder with a closed form (Steck 2019, arXiv:1905.03375).

Letters: U users, B histories, V items.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from moerec.data.sequences import History
from moerec.errors import UsageError
from moerec.evaluation.visits import visits

Items = NDArray[np.int32]
Scores = NDArray[np.float32]

LARGEST_CATALOGUE: Final = 20_000
"""Time grows with V^3, memory with V^2: one float32 matrix of this size is 1.6 GB."""


class EASE:
    """Ridge regression of every item on all others; when an item was visited plays no part.

    With X [U, V] the binary visits and P = (X'X + penalty * I)^-1, the weights are B = -P / diag(P)
    with a diagonal of 0. Raises UsageError for more than `LARGEST_CATALOGUE` items, and where float32
    finds no inverse.
    """

    name = "EASE"

    def __init__(self, train: Sequence[Items], catalogue: int, penalty: float = 100.0) -> None:
        if catalogue > LARGEST_CATALOGUE:
            raise UsageError(
                f"EASE inverts a matrix of items by items, and {catalogue:,} items are too many",
                f"It is for catalogues of up to {LARGEST_CATALOGUE:,} items; leave it out.",
            )
        self._catalogue = catalogue
        users = visits(train, catalogue)[:, 1:]
        gram = (users.T @ users).toarray(order="F")
        np.fill_diagonal(gram, gram.diagonal() + np.float32(penalty))
        self._weights = _weights(gram)

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """[B, V + 1]: the regression's answer to what was visited; an empty history gives zeros."""
        del leaving  # no score here depends on another
        found = np.zeros((len(histories), self._catalogue + 1), dtype=np.float32)
        visited = [history.items for history in histories]
        found[:, 1:] = visits(visited, self._catalogue)[:, 1:] @ self._weights
        return found


def _weights(gram: Scores) -> Scores:
    """B [V, V] from X'X + penalty * I in column order, which is overwritten."""
    factor, failed = lapack.spotrf(gram, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise UsageError(
            "EASE found no inverse in float32: its penalty is too small for this log",
            "Use a larger penalty.",
        )
    triangle, _ = lapack.spotri(factor, lower=1, overwrite_c=1)
    weights: Scores = triangle + triangle.T
    weights /= -triangle.diagonal()
    np.fill_diagonal(weights, 0.0)
    return weights

"""Factor analysis of the marks that users gave items, by expectation maximisation.

mark of user u for item i = mean_i + loadings_i . taste_u + noise_i, a taste normal with variance 1 around
what the user's vector lets expect, an item's noise its own (Salakhutdinov and Mnih 2007 with the tastes
integrated out; Agarwal and Chen 2009 for the regressions from vectors). Unlike a factorisation by least
squares it knows how sure it is of a taste, and needs no tuning of the number of factors.

Letters: U users, V items, N marks, D width of the vectors, F factors.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ROUNDS: Final = 12
LOADING_RIDGE: Final = 100.0
"""So many marks weigh as much as what the item's vector lets expect of its loadings."""

MEAN_SHRINKAGE: Final = 5.0
NOISE_SHRINKAGE: Final = 20.0
VECTOR_RIDGE: Final = 100.0
_FIRST_NOISE: Final = 0.65
_FIRST_LOADING: Final = 0.45
_CHUNK: Final = 4_096
"""Items whose F x F matrices, or copies of their vectors, are in memory at a time."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Marks:
    """N marks: of row `users` [N] (ascending) for item index `items` [N]."""

    users: NDArray[np.int64]
    items: NDArray[np.int32]
    marks: Floats


def fit_factors(
    given: Marks, user_vectors_UD: Floats, item_vectors_VD: Floats, factors: int, seed: int
) -> dict[str, Floats]:
    """The buffers of `moerec.models.liked.Factors`. The vectors have rows for all users, and V + 1."""
    analysis = _Analysis(given, user_vectors_UD, item_vectors_VD, factors, seed)
    for _ in range(ROUNDS):
        analysis.round()
    return analysis.arrays()


class _Analysis:
    """Marks are standardised in here."""

    def __init__(
        self,
        given: Marks,
        user_vectors_UD: Floats,
        item_vectors_VD: Floats,
        factors: int,
        seed: int,
    ) -> None:
        self._users, self._items = given.users, given.items
        self._mean, self._std = float(given.marks.mean()), float(given.marks.std()) or 1.0
        self._marks = ((given.marks - self._mean) / self._std).astype(np.float32)
        self._user_vectors, self._item_vectors = user_vectors_UD, item_vectors_VD
        U, rows = len(user_vectors_UD), len(item_vectors_VD)
        self._counts = np.bincount(self._items, minlength=rows).astype(np.float32)
        self._starts = np.searchsorted(self._users, np.arange(U + 1))
        self._given = self._matrix(np.ones(len(self._marks), np.float32))
        self._given_by_item = self._given.T.tocsr()
        rng = np.random.default_rng(seed)
        self._loadings = rng.normal(0, 0.1, (rows, factors)).astype(np.float32)
        self._loadings[:, 0] += _FIRST_LOADING
        self._noise = np.full(rows, _FIRST_NOISE, np.float32)
        self._means = self._shrunken_means(self._marks)
        self._expected = np.zeros((user_vectors_UD.shape[1] + 1, factors), np.float32)

    def round(self) -> None:
        """Tastes given the items, then the items given the tastes."""
        tastes_UF, spread_UFF = self._tastes()
        self._expected = _regression(self._user_vectors, tastes_UF, np.ones_like(tastes_UF[:, 0]))
        variances = self._solve_loadings(tastes_UF, spread_UFF)
        by_taste = np.einsum("nf,nf->n", tastes_UF[self._users], self._loadings[self._items])
        self._means = self._shrunken_means(self._marks - by_taste)
        errors = self._marks - self._means[self._items] - by_taste
        squares = np.bincount(self._items, errors**2, len(self._counts)) + variances
        noise = (squares + NOISE_SHRINKAGE * _FIRST_NOISE) / (self._counts + NOISE_SHRINKAGE)
        self._noise = np.asarray(noise, dtype=np.float32)

    def arrays(self) -> dict[str, Floats]:
        """In the marks' own units, means and loadings in units of the noise."""
        noise = np.sqrt(self._noise)
        found: dict[str, NDArray[np.floating]] = {
            "means": (self._mean / self._std + self._means) / noise,
            "loadings": self._loadings / noise[:, None],
            "precision": 1 / (self._std * noise),
            "expected": self._expected,
        }
        return {name: array.astype(np.float32) for name, array in found.items()}

    def _tastes(self) -> tuple[Floats, Floats]:
        """Posterior means [U, F] and covariances [U, F, F]."""
        U, F = len(self._user_vectors), self._loadings.shape[1]
        weighted = self._loadings / self._noise[:, None]
        gram = np.empty((U, F, F), np.float32)
        # Row after row: the items' outer products, all at once, would be F times their loadings.
        for row in range(F):
            gram[:, row] = self._given @ (self._loadings[:, row : row + 1] * weighted)
        spread = np.linalg.inv(gram + np.eye(F, dtype=np.float32))
        left = self._matrix(self._marks - self._means[self._items]) @ weighted
        left += _predicted(self._user_vectors, self._expected)
        return np.einsum("ufg,ug->uf", spread, left), spread

    def _solve_loadings(self, tastes_UF: Floats, spread_UFF: Floats) -> Floats:
        """New loadings; for each item what the doubt about its users' tastes adds to its errors."""
        U, F = tastes_UF.shape
        doubt = spread_UFF.reshape(U, F * F)
        square = (tastes_UF[:, :, None] * tastes_UF[:, None, :]).reshape(U, F * F)
        left_by_item = self._matrix(self._marks - self._means[self._items]).T.tocsr()
        weights = self._counts / (self._counts + LOADING_RIDGE)
        expected = _regression(self._item_vectors, self._loadings, weights)
        ridge = LOADING_RIDGE * np.eye(F, dtype=np.float32)
        added = np.zeros(len(self._counts), np.float32)
        for start in range(0, len(added), _CHUNK):
            part = slice(start, start + _CHUNK)
            doubts = (self._given_by_item[part] @ doubt).reshape(-1, F, F)
            squares = (self._given_by_item[part] @ square).reshape(-1, F, F)
            prior = _predicted(self._item_vectors[part], expected)
            right = left_by_item[part] @ tastes_UF + LOADING_RIDGE * prior
            loadings = np.linalg.solve(doubts + squares + ridge, right[..., None])[..., 0]
            self._loadings[part] = loadings
            added[part] = np.einsum("vf,vfg,vg->v", loadings, doubts, loadings)
        return added

    def _shrunken_means(self, left: Floats) -> Floats:
        sums = np.bincount(self._items, left, len(self._counts))
        weights = self._counts / (self._counts + MEAN_SHRINKAGE)
        raw = (sums / np.maximum(self._counts, 1))[:, None]
        prior = _predicted(self._item_vectors, _regression(self._item_vectors, raw, weights))
        means = (sums + MEAN_SHRINKAGE * prior[:, 0]) / (self._counts + MEAN_SHRINKAGE)
        return np.asarray(means, dtype=np.float32)

    def _matrix(self, data: Floats) -> sparse.csr_array:
        shape = (len(self._starts) - 1, len(self._counts))
        return sparse.csr_array((data, self._items, self._starts), shape=shape)


def _predicted(inputs: Floats, found: Floats) -> Floats:
    """What a regression says of rows of inputs."""
    predicted: Floats = inputs @ found[:-1] + found[-1]
    return predicted


def _regression(inputs: Floats, outputs: NDArray[np.floating], weights: Floats) -> Floats:
    """Ridge regression: a row for each input, and one for the constant, which is free."""
    ridge = np.full(inputs.shape[1] + 1, VECTOR_RIDGE)
    ridge[-1] = 1e-3
    gram, right = np.diag(ridge), np.zeros((len(ridge), outputs.shape[1]))
    for start in range(0, len(inputs), _CHUNK):
        part = slice(start, start + _CHUNK)
        with_one = np.pad(inputs[part], ((0, 0), (0, 1)), constant_values=1.0)
        weighted = with_one.T * weights[part]
        gram += weighted @ with_one
        right += weighted @ outputs[part]
    return np.asarray(np.linalg.solve(gram, right), dtype=np.float32)

"""The bar to beat: popularity, a weighted Markov chain, and for items that nobody has seen, content.

Each is learned from the training events alone, or from none.
Letters: V items (column 0 is the padding), B histories, N training events, F features.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.data.item_features import ItemFeatures
from moerec.data.sequences import History

Scores = NDArray[np.float32]
Items = NDArray[np.int32]

DISTANCES: Final = 10
DISTANCE_DECAY: Final = 0.85
PSEUDO_COUNTS: Final = 20.0
LAST_ITEMS: Final = 10
RECENCY_DECAY: Final = 0.8
CONTENT_DECAY: Final = 0.5


def item_counts(items: NDArray[np.int32], catalogue: int) -> NDArray[np.int64]:
    """How often each item occurs, int64 [V + 1]; the padding has 0."""
    counts = np.bincount(items, minlength=catalogue + 1)
    counts[0] = 0
    return counts


class Popularity:
    """Every user gets the same list: the most frequent items."""

    name = "popularity"

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._scores = counts.astype(np.float32)

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """[B, V + 1], the counts for everybody."""
        del leaving  # no score here depends on another
        return np.tile(self._scores, (len(histories), 1))


class MarkovChain:
    """Which items follow which, summed over the last ten items of a history.

    Transitions over distances d = 1..10 count 0.85^(d-1); each row is smoothed with 20 pseudo-counts
    spread by popularity; the k-th item from the end counts 0.8^k, k = 0..9.
    """

    name = "Markov chain"

    def __init__(self, train: Sequence[Items], catalogue: int) -> None:
        flat = np.concatenate(train) if train else np.zeros(0, np.int32)
        owner = np.repeat(np.arange(len(train)), [len(history) for history in train])
        counts = item_counts(flat, catalogue)
        self._popularity = (counts / max(counts.sum(), 1)).astype(np.float32)
        transitions = transition_counts(flat, owner, catalogue)
        mass = np.asarray(transitions.sum(axis=1)).reshape(-1) + PSEUDO_COUNTS
        self._rows = sparse.diags_array(1.0 / mass) @ transitions
        self._rest = PSEUDO_COUNTS / mass

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """[B, V + 1]: sum over the last items of 0.8^k * P(next | item)."""
        del leaving  # no score here depends on another
        weights = _recency(histories, len(self._popularity), RECENCY_DECAY)
        learned = (weights @ self._rows).toarray()
        smoothed = (weights @ self._rest)[:, None] * self._popularity
        return np.asarray(learned + smoothed, dtype=np.float32)


class ContentNeighbours:
    """Items that are like the last ten of a history in content: tf-idf cosines, no learning.

    The k-th item from the end counts 0.5^k. It alone can rank items that have no events.
    """

    name = "content-kNN"

    def __init__(self, features: ItemFeatures) -> None:
        shape = (len(features.offsets) - 1, features.size)
        parts = (features.weights, features.features, features.offsets)
        self._rows = sparse.csr_array(parts, shape=shape)

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """[B, V + 1]: the weighted mean of the cosines with the last items."""
        del leaving  # no score here depends on another
        weights = _recency(histories, self._rows.shape[0], CONTENT_DECAY)
        profiles = weights @ self._rows
        total = np.maximum(weights.sum(axis=1), 1.0)
        cosines = (profiles @ self._rows.T).toarray()
        return np.asarray(cosines / total[:, None], dtype=np.float32)


def _recency(histories: Sequence[History], width: int, decay: float) -> sparse.csr_array:
    """[B, V + 1]: what each of a history's last ten items counts; the newest counts 1."""
    lasts = [history.items[-LAST_ITEMS:][::-1] for history in histories]
    rows = np.repeat(np.arange(len(lasts)), [len(last) for last in lasts])
    columns = np.concatenate([*lasts, np.zeros(0, np.int32)])
    ages = np.concatenate([*(np.arange(len(last)) for last in lasts), np.zeros(0, np.int64)])
    return sparse.coo_array((decay**ages, (rows, columns)), shape=(len(lasts), width)).tocsr()


def transition_counts(
    flat: NDArray[np.int32], owner: NDArray[np.int64], catalogue: int
) -> sparse.csr_array:
    """Weighted counts [V + 1, V + 1] of (item, later item of the same user)."""
    total = sparse.csr_array((catalogue + 1, catalogue + 1), dtype=np.float64)
    for distance in range(1, DISTANCES + 1):
        same = owner[:-distance] == owner[distance:]
        pairs = (flat[:-distance][same], flat[distance:][same])
        weight = np.full(len(pairs[0]), DISTANCE_DECAY ** (distance - 1))
        total = total + sparse.coo_array((weight, pairs), shape=total.shape).tocsr()
    return total

"""item-kNN: items that the same users visit, by cosine.

After Deshpande and Karypis 2004, doi:10.1145/963770.963776, with shrinkage and recency.

Letters: U users, B histories, V items (column 0 is the padding), K neighbours.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.data.sequences import History
from moerec.evaluation.visits import visits

Items = NDArray[np.int32]
Scores = NDArray[np.float32]
Nearness = sparse.csr_array[np.float32]

BLOCK_PAIRS: Final = 4_000_000
"""So many pairs of visits of one user, of one item or more, are counted at a time: at most 300 MB."""


class ItemKNN:
    """Every visited item speaks for its nearest neighbours, the k-th from the end with 0.6^k of its voice."""

    name = "item-kNN"

    def __init__(self, nearness: Nearness, recency_decay: float = 0.6) -> None:
        """`nearness` [V + 1, V + 1] is what `nearest_items` makes; a decay of 1 forgets the order."""
        self._nearness = nearness
        self._recency_decay = recency_decay

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """[B, V + 1]: weighted sum of the nearness to what was visited; an empty history gives zeros."""
        del leaving  # no score here depends on another
        visited = [history.items for history in histories]
        weights = visits(visited, self._nearness.shape[0] - 1, self._recency_decay)
        return (weights @ self._nearness).toarray()


def nearest_items(
    train: Sequence[Items], catalogue: int, neighbours: int, shrinkage: float
) -> Nearness:
    """float32 [V + 1, V + 1]: each row has its K nearest items, ties by the lower index.

    The nearness of two items is (users of both) / (sqrt(users of one * users of the other) + shrinkage):
    a cosine that is believed the less, the fewer users stand behind it.
    """
    users = visits(train, catalogue)
    items = users.T.tocsr()
    counts = np.asarray(users.sum(axis=0), dtype=np.float32)
    blocks = [
        _nearest_of_block(items[start:end], users, counts, start, neighbours, shrinkage)
        for start, end in _blocks(items @ np.diff(users.indptr))
    ]
    return sparse.vstack(blocks, format="csr")


def _blocks(pairs_V: Scores) -> Iterator[tuple[int, int]]:
    """Runs of items with `BLOCK_PAIRS` together at most, or of one item; `pairs_V` are those of each."""
    start, sum_V = 0, np.cumsum(pairs_V, dtype=np.float64)
    while start < len(sum_V):
        before = sum_V[start - 1] if start else 0.0
        end = int(np.searchsorted(sum_V, before + BLOCK_PAIRS, side="right"))
        end = max(end, start + 1)
        yield start, end
        start = end


def _nearest_of_block(
    block: Nearness,
    users: Nearness,
    counts: Scores,
    start: int,
    neighbours: int,
    shrinkage: float,
) -> Nearness:
    """The rows of the result for the items from `start` on, `block` [items, U]."""
    shared = (block @ users).tocoo()
    row, column = shared.coords
    nearness = shared.data / (np.sqrt(counts[row + start] * counts[column]) + shrinkage)
    other = np.flatnonzero(row + start != column)
    order = other[np.lexsort((column[other], -nearness[other], row[other]))]
    first_of_row = np.searchsorted(row[order], row[order])
    order = order[np.arange(len(order)) - first_of_row < neighbours]
    kept = (nearness[order].astype(np.float32), (row[order], column[order]))
    return sparse.coo_array(kept, shape=shared.shape).tocsr()

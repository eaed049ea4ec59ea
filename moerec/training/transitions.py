"""Counts the table of transitions from the training events.

Letters: V items, K neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from moerec.evaluation.baselines import PSEUDO_COUNTS, transition_counts
from moerec.evaluation.item_knn import nearest_items

SHRINKAGE: Final = 10.0
"""Of the nearness of two items that the same users visit (`nearest_items`)."""

Matrix = sparse.csr_array[np.float64]


@dataclass(frozen=True, slots=True)
class TransitionTable:
    """For each item the K that most likely come next, [V + 1, K]; unused places are item 0, chance 0."""

    items: NDArray[np.int32]
    chances: NDArray[np.float32]


class TransitionCounts:
    """What followed what in the training events, and what the same users visited.

    The two differ where histories are short: an item with few followers has been visited beside many.
    """

    def __init__(self, train: Sequence[NDArray[np.int32]], catalogue: int, neighbors: int) -> None:
        self._train = train
        self._catalogue = catalogue
        self._neighbors = neighbors
        self._chain = _chain(train, catalogue)

    def table(self, covisits: float = 0.0) -> TransitionTable:
        """A share `covisits` in [0, 1] of an item's chances is for what its visitors visit at any time."""
        mixed = self._chain
        if covisits:
            mixed = (1 - covisits) * self._chain + covisits * self._visited_together()
        return _most_likely(sparse.csr_array(mixed), self._neighbors)

    def _visited_together(self) -> Matrix:
        """The nearest items of each by the users that they share, each row's sum 1 or 0."""
        nearness = nearest_items(self._train, self._catalogue, self._neighbors, SHRINKAGE)
        total: NDArray[np.float64] = np.asarray(nearness.sum(axis=1), np.float64).reshape(-1)
        return sparse.csr_array(sparse.diags_array(1.0 / np.maximum(total, 1e-9)) @ nearness)


def _chain(train: Sequence[NDArray[np.int32]], catalogue: int) -> Matrix:
    """P(next | item) [V + 1, V + 1] of the Markov chain (`evaluation/baselines.py`).

    20 pseudo-counts in the denominator keep an item that was seen a few times from being sure of
    what follows.
    """
    flat = np.concatenate([*train, np.zeros(0, np.int32)])
    owner = np.repeat(np.arange(len(train)), [len(history) for history in train])
    counts = transition_counts(flat, owner, catalogue)
    mass = np.asarray(counts.sum(axis=1)).reshape(-1) + PSEUDO_COUNTS
    return sparse.csr_array(sparse.diags_array(1.0 / mass) @ counts)


def _most_likely(chances: Matrix, neighbors: int) -> TransitionTable:
    rows = chances.shape[0]
    table = TransitionTable(
        np.zeros((rows, neighbors), np.int32), np.zeros((rows, neighbors), np.float32)
    )
    for item in range(1, rows):
        begin, end = chances.indptr[item], chances.indptr[item + 1]
        order = np.argsort(-chances.data[begin:end], kind="stable")[:neighbors]
        table.items[item, : len(order)] = chances.indices[begin:end][order]
        table.chances[item, : len(order)] = chances.data[begin:end][order]
    return table

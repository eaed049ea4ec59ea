"""Counts the table of transitions from the training events.

Letters: V items, K neighbours.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moerec.evaluation.baselines import PSEUDO_COUNTS, transition_counts


def transition_table(
    train: Sequence[NDArray[np.int32]], catalogue: int, neighbors: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each item the K that follow most often, and P(next | item), both [V + 1, K].

    The counts are the Markov chain's (`evaluation/baselines.py`). 20 pseudo-counts in the
    denominator keep an item that was seen a few times from being sure of what follows.
    """
    flat = np.concatenate([*train, np.zeros(0, np.int32)])
    owner = np.repeat(np.arange(len(train)), [len(history) for history in train])
    counts = transition_counts(flat, owner, catalogue)
    mass = np.asarray(counts.sum(axis=1)).reshape(-1) + PSEUDO_COUNTS
    items = np.zeros((catalogue + 1, neighbors), dtype=np.int32)
    chances = np.zeros((catalogue + 1, neighbors), dtype=np.float32)
    for item in range(1, catalogue + 1):
        begin, end = counts.indptr[item], counts.indptr[item + 1]
        order = np.argsort(-counts.data[begin:end], kind="stable")[:neighbors]
        items[item, : len(order)] = counts.indices[begin:end][order]
        chances[item, : len(order)] = counts.data[begin:end][order] / mass[item]
    return items, chances

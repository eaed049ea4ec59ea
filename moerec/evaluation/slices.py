"""An evaluation cut into groups: by the length of the history, and by where the target ranked.

Letters: U evaluated users.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.evaluation import metrics
from moerec.evaluation.buckets import Buckets

LENGTHS: Final = Buckets((0, 1, 6, 11, 21, 51, 101, 201))
RANKS: Final = Buckets((1, 2, 6, 11, 21, 51, 101, 201))


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the users, and how well they were served."""

    label: str
    users: int
    hit_rate: float
    ndcg: float


def by_history_length(lengths_U: NDArray[np.int64], ranks_U: NDArray[np.int64]) -> list[Slice]:
    """HR@10 and NDCG@10 of users by their known events before the target; ranges without users are
    left out."""
    group_U = LENGTHS.of(lengths_U)
    return [
        Slice(
            label,
            int((group_U == number).sum()),
            metrics.hit_rate(ranks_U[group_U == number], 10),
            metrics.ndcg(ranks_U[group_U == number], 10),
        )
        for number, label in enumerate(LENGTHS.labels)
        if (group_U == number).any()
    ]


def rank_shares(ranks_U: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of users whose target ranked in each range of `RANKS`; a miss is in the last."""
    return np.bincount(RANKS.of(ranks_U), minlength=len(RANKS)) / max(len(ranks_U), 1)


def hit_rate_curve(ranks_U: NDArray[np.int64], longest: int) -> NDArray[np.float64]:
    """HR@k for k = 1 .. `longest`: the distribution of ranks, added up."""
    within = ranks_U[ranks_U <= longest]
    counts = np.bincount(within, minlength=longest + 1)[1:]
    return np.cumsum(counts) / max(len(ranks_U), 1)

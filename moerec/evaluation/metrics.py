"""What a list of ranks says about a recommender. Pure functions of numpy arrays.

Letters: U evaluated users. A rank counts from 1; `MISS` stands for a target that was not in the
catalogue at all.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

MISS: Final = np.iinfo(np.int64).max

Ranks = NDArray[np.int64]


def hit_rate(ranks_U: Ranks, k: int) -> float:
    """Share of users whose target is among the first k.

    >>> hit_rate(np.array([1, 3, 11]), 10)
    0.6666666666666666
    """
    return float(np.mean(ranks_U <= k))


def gains(ranks_U: Ranks, k: int) -> NDArray[np.float64]:
    """What each user adds to the NDCG: 1 / log2(rank + 1) within k, else 0; float64 [U]."""
    return np.where(ranks_U <= k, 1.0 / np.log2(np.minimum(ranks_U, k) + 1.0), 0.0)


def ndcg(ranks_U: Ranks, k: int) -> float:
    """Normalised discounted cumulative gain with one relevant item: 1 / log2(rank + 1) within k.

    >>> ndcg(np.array([1, 3, 11]), 10)
    0.5
    """
    return float(np.mean(gains(ranks_U, k)))


def mrr(ranks_U: Ranks, k: int) -> float:
    """Mean reciprocal rank within the first k.

    >>> mrr(np.array([1, 4, 11]), 10)
    0.4166666666666667
    """
    return float(np.mean(np.where(ranks_U <= k, 1.0 / ranks_U, 0.0)))


def percentiles(ranks_U: Ranks, candidates_U: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of a user's other candidates ranked below the target; 1 is best, a miss is 0.

    >>> percentiles(np.array([1, 3]), np.array([5, 5])).tolist()
    [1.0, 0.5]
    """
    others_U = np.maximum(candidates_U - 1, 1)
    ahead_U = np.minimum(ranks_U - 1, others_U)
    return 1.0 - ahead_U / others_U

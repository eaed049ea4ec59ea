"""What the lists show of the catalogue: coverage, concentration, and their lean towards the popular.

Letters: V items (row 0 is the padding), S shown items (an item counts each time it is shown).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from moerec.evaluation.buckets import DECILES, popularity_deciles


@dataclass(frozen=True, slots=True)
class Exposure:
    """What is shown, in four figures.

    * `coverage`: share of the catalogue that is shown at all;
    * `gini` of how often items are shown: 0 all alike, towards 1 one item alone;
    * `mean_percentile` of the shown items' popularity: 1 the most popular, 0.5 as a random item;
    * `share_by_decile` [10]: share of what is shown that comes from each tenth of the catalogue, the
      most popular first.
    """

    name: str
    coverage: float
    gini: float
    mean_percentile: float
    share_by_decile: NDArray[np.float64]


def exposure(name: str, shown_S: NDArray[np.int32], train_counts: NDArray[np.int64]) -> Exposure:
    """`shown_S` are item indexes (0 is left out), `train_counts` int64 [V + 1] training events."""
    shown_S = shown_S[shown_S != 0]
    times_V = np.bincount(shown_S, minlength=len(train_counts))[1:]
    by_decile = np.bincount(popularity_deciles(train_counts)[shown_S], minlength=DECILES + 1)[1:]
    percentile_V = (stats.rankdata(train_counts[1:]) - 1) / max(len(times_V) - 1, 1)
    total = max(len(shown_S), 1)
    return Exposure(
        name,
        float(np.count_nonzero(times_V) / len(times_V)),
        gini(times_V),
        float((times_V * percentile_V).sum() / total),
        by_decile / total,
    )


def gini(times_V: NDArray[np.int64]) -> float:
    """Gini coefficient of counts, 0 for an empty sum.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    ordered = np.sort(times_V).astype(np.float64)
    if ordered.sum() == 0:
        return 0.0
    place = np.arange(1, len(ordered) + 1)
    return float((2 * place - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))

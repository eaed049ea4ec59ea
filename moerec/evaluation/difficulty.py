"""Do hard events get more experts? The number of experts a token wakes, against its loss.

Letters: L layers, N tokens with a loss, D deciles of the loss.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from moerec.evaluation.buckets import DECILES


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Of N tokens: mean loss of each tenth of them, easiest first; mean experts there, by layer; and
    Spearman's rank correlation of the two, by layer and for the mean over layers.

    A correlation is None where one side never varies (a fixed number of experts) or N < 2.
    """

    tokens: int
    loss_D: NDArray[np.float64]
    experts_LD: NDArray[np.float64]
    spearman_L: list[float | None]
    spearman: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "tokens": self.tokens,
            "mean_loss_by_decile": self.loss_D.tolist(),
            "mean_experts_by_layer_and_decile": self.experts_LD.tolist(),
            "spearman_by_layer": self.spearman_L,
            "spearman": self.spearman,
        }


def difficulty(k_LN: NDArray[np.int8], loss_N: NDArray[np.float32]) -> Difficulty:
    """`k_LN` experts awake, `loss_N` cross entropy in nats, both of the same tokens.

    With fewer than ten tokens there are as many groups as tokens.
    """
    groups = np.array_split(np.argsort(loss_N, kind="stable"), max(min(DECILES, len(loss_N)), 1))
    groups = [group for group in groups if len(group)]
    return Difficulty(
        tokens=len(loss_N),
        loss_D=np.array([loss_N[group].mean(dtype=np.float64) for group in groups]),
        experts_LD=np.stack([k_LN[:, group].mean(axis=1) for group in groups], axis=1)
        if groups
        else np.zeros((len(k_LN), 0)),
        spearman_L=[rank_correlation(k_N, loss_N) for k_N in k_LN],
        spearman=rank_correlation(k_LN.mean(axis=0), loss_N),
    )


def rank_correlation(one_N: NDArray[np.generic], other_N: NDArray[np.generic]) -> float | None:
    """Spearman's: Pearson's of the ranks, equal values sharing their mean rank.

    None for fewer than two pairs, or where one side never varies.

    >>> rank_correlation(np.array([1, 2, 3]), np.array([1, 4, 9]))
    1.0
    """
    if len(one_N) < 2 or (one_N == one_N[0]).all() or (other_N == other_N[0]).all():
        return None
    return float(np.corrcoef(stats.rankdata(one_N), stats.rankdata(other_N))[0, 1])

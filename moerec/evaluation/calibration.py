"""Are probabilities true? Of the events that were called 70 % likely, 70 % should have come.

Letters: N predictions, B bins.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Predictions:
    """`probability_N` in [0, 1] of being liked, and what came of it: `outcome_N` true if it was."""

    probability_N: NDArray[np.float32]
    outcome_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Ten bins of equal width in probability; those without a prediction are left out.

    * `count_B`, `predicted_B` the mean probability, `observed_B` the share of true outcomes;
    * `error`: mean over predictions of |observed - predicted| of their bin (expected calibration error);
    * `brier`: mean squared difference of probability and outcome; `base_rate`: share of true outcomes.
    """

    count_B: NDArray[np.int64]
    predicted_B: NDArray[np.float64]
    observed_B: NDArray[np.float64]
    error: float
    brier: float
    base_rate: float


def calibration(predictions: Predictions) -> Calibration:
    """ValueError without a prediction, for lengths that differ, or a probability outside [0, 1]."""
    probability_N = predictions.probability_N.astype(np.float64)
    outcome_N = predictions.outcome_N.astype(np.float64)
    if len(probability_N) == 0 or probability_N.shape != outcome_N.shape:
        raise ValueError("as many outcomes as probabilities, and one at least, are needed")
    if not ((probability_N >= 0) & (probability_N <= 1)).all():
        raise ValueError("a probability lies in [0, 1]")
    bin_N = np.minimum((probability_N * BINS).astype(np.int64), BINS - 1)
    count_B = np.bincount(bin_N, minlength=BINS)
    used = count_B > 0
    count_B = count_B[used]
    predicted_B = np.bincount(bin_N, probability_N, BINS)[used] / count_B
    observed_B = np.bincount(bin_N, outcome_N, BINS)[used] / count_B
    return Calibration(
        count_B,
        predicted_B,
        observed_B,
        float((np.abs(observed_B - predicted_B) * count_B).sum() / len(bin_N)),
        float(((probability_N - outcome_N) ** 2).mean()),
        float(outcome_N.mean()),
    )

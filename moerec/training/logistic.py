"""Logistic regression on a few inputs, by Newton's method.

Letters: M examples, L inputs.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RIDGE: Final = 10.0
"""On standardised inputs, in examples: two inputs that say the same share their weight."""

STEPS: Final = 20


def logistic_regression(
    inputs_ML: NDArray[np.float64], outcomes_M: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Weights [L] and the constant; outcomes are 0 or 1, and both come."""
    mean, std = inputs_ML.mean(axis=0), inputs_ML.std(axis=0)
    std[std == 0] = 1.0
    design = np.column_stack([(inputs_ML - mean) / std, np.ones(len(inputs_ML))])
    ridge = np.full(design.shape[1], RIDGE)
    ridge[-1] = 0.0
    share = outcomes_M.mean()
    found = np.zeros(design.shape[1])
    found[-1] = np.log(share / (1 - share))
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-design @ found))
        gradient = design.T @ (outcomes_M - chance) - ridge * found
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(ridge)
        found = found + np.linalg.solve(curvature, gradient)
    weights = found[:-1] / std
    return weights, float(found[-1] - weights @ mean)

"""Logistic regression finds the weights that made the data."""

import numpy as np
import pytest

from moerec.training.logistic import logistic_regression


def test_it_finds_weights_and_constant() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(40_000, 3)) * [1.0, 10.0, 0.1] + 5.0
    logits = inputs @ [1.0, -0.2, 3.0] - 18.0
    outcomes = (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(float)
    weights, constant = logistic_regression(inputs, outcomes)
    assert weights == pytest.approx([1.0, -0.2, 3.0], rel=0.2)
    assert constant == pytest.approx(-18.0, rel=0.15)


def test_outcomes_that_an_input_separates_and_an_input_that_never_differs() -> None:
    inputs = np.column_stack([np.arange(200.0), np.ones(200)])
    weights, constant = logistic_regression(inputs, (inputs[:, 0] >= 100).astype(float))
    assert np.isfinite(weights).all()
    assert weights[1] == pytest.approx(0.0)
    assert weights[0] * 99 + constant < 0 < weights[0] * 100 + constant

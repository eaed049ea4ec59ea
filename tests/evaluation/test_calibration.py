"""Calibration against its definition."""

import numpy as np
import pytest

from moerec.evaluation.calibration import Predictions, calibration


def test_by_hand() -> None:
    found = calibration(
        Predictions(
            np.array([0.1, 0.15, 0.95, 0.95, 1.0], np.float32),
            np.array([False, True, True, True, False]),
        )
    )
    assert found.count_B.tolist() == [2, 3]
    assert found.predicted_B == pytest.approx([0.125, 2.9 / 3])
    assert found.observed_B == pytest.approx([1 / 2, 2 / 3])
    assert found.error == pytest.approx((2 * 0.375 + 3 * (2.9 / 3 - 2 / 3)) / 5)
    assert found.brier == pytest.approx((0.01 + 0.7225 + 0.0025 + 0.0025 + 1) / 5)
    assert found.base_rate == pytest.approx(3 / 5)


def test_true_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(50_000).astype(np.float32)
    outcome = rng.random(50_000) < probability
    assert calibration(Predictions(probability, outcome)).error < 0.01
    assert calibration(Predictions(probability, ~outcome)).error > 0.3


@pytest.mark.parametrize(
    ("probability", "outcome"), [([], []), ([0.5], []), ([1.5], [True]), ([float("nan")], [True])]
)
def test_what_is_no_prediction_is_refused(probability: list[float], outcome: list[bool]) -> None:
    with pytest.raises(ValueError, match="probabilit"):
        calibration(Predictions(np.array(probability, np.float32), np.array(outcome, bool)))

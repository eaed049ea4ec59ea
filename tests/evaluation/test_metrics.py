"""Metrics against numbers worked out by hand."""

import doctest
import math

import numpy as np
import pytest

from moerec.evaluation import metrics

RANKS = np.array([1, 2, 10, 11, metrics.MISS])


def test_by_hand() -> None:
    assert metrics.hit_rate(RANKS, 10) == pytest.approx(3 / 5)
    assert metrics.hit_rate(RANKS, 1) == pytest.approx(1 / 5)
    assert metrics.ndcg(RANKS, 10) == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(11)) / 5)
    assert metrics.mrr(RANKS, 10) == pytest.approx((1 + 1 / 2 + 1 / 10) / 5)
    assert metrics.percentiles(RANKS, np.full(5, 11)).tolist() == pytest.approx(
        [1.0, 0.9, 0.1, 0.0, 0.0]
    )


def test_one_candidate_alone_is_best() -> None:
    assert metrics.percentiles(np.array([1]), np.array([1])).tolist() == [1.0]


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(metrics).failed == 0

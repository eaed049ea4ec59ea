"""Coverage and popularity bias, worked out by hand."""

import doctest

import numpy as np
import pytest

from moerec.evaluation import buckets, exposure

COUNTS = np.array([0, 50, 40, 30, 30, 20, 10, 5, 3, 2, 1])


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(exposure) == (0, 1)
    assert doctest.testmod(buckets) == (0, 3)


def test_by_hand() -> None:
    shown = np.array([1, 1, 1, 4, 10, 0, 0], np.int32)  # 0: a place that no item was left for
    found = exposure.exposure("x", shown, COUNTS)
    assert found.coverage == pytest.approx(3 / 10)
    assert found.share_by_decile.tolist() == pytest.approx([0.6, 0, 0, 0.2, 0, 0, 0, 0, 0, 0.2])
    # Percentiles: the first of ten is 1, the last 0; the two with 30 share 6.5 / 9.
    assert found.mean_percentile == pytest.approx((3 * 1 + 6.5 / 9 + 0) / 5)
    times = [3, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    between = sum(abs(one - other) for one in times for other in times)
    assert found.gini == pytest.approx(between / (2 * 10 * sum(times)))


def test_a_list_like_the_catalogue_has_no_bias() -> None:
    found = exposure.exposure("x", np.arange(1, 11, dtype=np.int32), COUNTS)
    assert (found.coverage, found.gini) == (1.0, pytest.approx(0.0))
    assert found.mean_percentile == pytest.approx(0.5)
    assert found.share_by_decile.tolist() == pytest.approx([0.1] * 10)


def test_nothing_shown() -> None:
    found = exposure.exposure("x", np.zeros(3, np.int32), COUNTS)
    assert (found.coverage, found.gini, found.mean_percentile) == (0, 0, 0)

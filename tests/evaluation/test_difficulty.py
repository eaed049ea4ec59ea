"""Rank correlation against a library's, and its edges."""

import doctest

import numpy as np
import pytest
from scipy import stats

from moerec.evaluation import difficulty
from moerec.evaluation.difficulty import rank_correlation


def test_examples_in_the_docstrings() -> None:
    assert doctest.testmod(difficulty) == (0, 1)


def test_ties_share_their_rank() -> None:
    rng = np.random.default_rng(0)
    k, loss = rng.integers(2, 5, 300), rng.normal(size=300)
    expected = stats.spearmanr(k, loss).statistic
    assert rank_correlation(k, loss) == pytest.approx(expected)


@pytest.mark.parametrize("k", [[], [3], [2, 2, 2]])
def test_no_correlation_to_speak_of(k: list[int]) -> None:
    """A fixed number of experts varies with nothing; numpy would warn and say NaN."""
    assert rank_correlation(np.array(k), np.arange(len(k)) * 1.0) is None


def test_fewer_tokens_than_deciles() -> None:
    found = difficulty.difficulty(
        np.array([[2, 3, 4]], np.int8), np.array([3.0, 1.0, 2.0], np.float32)
    )
    assert found.loss_D.tolist() == [1.0, 2.0, 3.0]
    assert found.experts_LD.tolist() == [[3.0, 4.0, 2.0]]
    nothing = difficulty.difficulty(np.zeros((2, 0), np.int8), np.zeros(0, np.float32))
    assert nothing.tokens == 0
    assert nothing.experts_LD.shape == (2, 0)
    assert nothing.spearman is None

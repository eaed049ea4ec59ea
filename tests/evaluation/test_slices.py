"""Groups of users against loops."""

import numpy as np
import pytest

from moerec.evaluation import metrics
from moerec.evaluation.slices import RANKS, by_history_length, hit_rate_curve, rank_shares

LENGTHS = np.array([0, 1, 5, 6, 10, 300, 300])
FOUND = np.array([1, 2, 20, 1, 11, 3, metrics.MISS])


def test_users_are_grouped_by_length() -> None:
    parts = by_history_length(LENGTHS, FOUND)
    assert [(part.label, part.users) for part in parts] == [
        ("0", 1),
        ("1-5", 2),
        ("6-10", 2),
        ("201+", 2),
    ]
    assert [part.hit_rate for part in parts] == [1, 0.5, 0.5, 0.5]
    assert parts[1].ndcg == pytest.approx(metrics.ndcg(np.array([2, 20]), 10))
    assert sum(part.users * part.ndcg for part in parts) / 7 == pytest.approx(
        metrics.ndcg(FOUND, 10)
    )


def test_ranks_are_distributed() -> None:
    shares = dict(zip(RANKS.labels, rank_shares(FOUND).tolist(), strict=True))
    assert shares["1"] == pytest.approx(2 / 7)
    assert shares["2-5"] == pytest.approx(2 / 7)
    assert shares["11-20"] == pytest.approx(2 / 7)
    assert shares["201+"] == pytest.approx(1 / 7)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_curve_is_the_hit_rate_at_every_k() -> None:
    curve = hit_rate_curve(FOUND, 25)
    assert curve == pytest.approx([metrics.hit_rate(FOUND, k) for k in range(1, 26)])

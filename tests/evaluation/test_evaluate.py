"""Full ranking: who is a candidate, how ties and misses count, what a list holds."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from moerec.data.sequences import History
from moerec.evaluation.evaluate import Cases, cases, evaluate, top_items
from moerec.evaluation.metrics import MISS
from tests.logs import walking_interactions, with_histories


class Fixed:
    """The same scores for everybody."""

    name = "fixed"

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = np.array([99.0, *scores], dtype=np.float32)  # the padding would win

    def scores(
        self, histories: Sequence[History], leaving: Sequence[NDArray[np.int32]] = ()
    ) -> NDArray[np.float32]:
        self.leaving = [items.tolist() for items in leaving]
        return np.tile(self._scores, (len(histories), 1))


def one(history: Sequence[int], target: int) -> Cases:
    return Cases(np.array([0]), [History.of_items(history)], np.array([target], np.int32))


@pytest.mark.parametrize(
    ("history", "target", "keep_seen", "rank", "candidates"),
    [
        ([], 1, False, 1, 5),
        ([], 3, False, 3, 5),
        ([1, 2], 3, False, 1, 3),  # seen items are out of the way
        ([1, 2], 3, True, 3, 5),
        ([1, 2], 2, False, 1, 4),  # a target that was seen before stays a candidate
    ],
)
def test_ranks(
    history: list[int], target: int, keep_seen: bool, rank: int, candidates: int
) -> None:
    found = evaluate(Fixed([5, 4, 3, 2, 1]), one(history, target), 5, keep_seen=keep_seen)
    assert found.ranks.tolist() == [rank]
    assert found.candidates.tolist() == [candidates]


def test_ties_count_against_the_scorer() -> None:
    assert evaluate(Fixed([1, 1, 1, 1]), one([], 1), 4).ranks.tolist() == [4]


def test_a_score_that_is_no_number_is_the_worst() -> None:
    scorer = Fixed([float("nan"), 1, 2])
    assert evaluate(scorer, one([], 1), 3).ranks.tolist() == [3]
    assert evaluate(scorer, one([], 3), 3).ranks.tolist() == [1]


def test_an_unknown_target_is_a_miss() -> None:
    found = evaluate(Fixed([1, 2, 3]), one([1], 0), 3)
    assert found.ranks.tolist() == [MISS]
    assert found.summary["hr@200"] == 0.0
    assert found.summary["mrr@10"] == 0.0
    assert found.summary["percentile_mean"] == 0.0


def test_lists_leave_out_what_was_seen_even_the_target() -> None:
    found = evaluate(Fixed([5, 4, 3, 2, 1]), one([1, 3], 3), 5)
    assert found.lists[0].tolist()[:4] == [2, 4, 5, 0]
    assert found.lists.shape == (1, 50)


def test_nobody_to_evaluate_gives_an_empty_summary() -> None:
    nobody = Cases(np.zeros(0, np.int64), [], np.zeros(0, np.int32))
    assert evaluate(Fixed([1, 2]), nobody, 2).summary == {}


def test_cases_end_before_their_target() -> None:
    _, histories = with_histories(walking_interactions(3, events=6))
    found = cases(histories, np.array([1]), np.array([4]))
    assert found.histories[0].items.tolist() == histories.items_of(1)[:4].tolist()
    assert found.targets.tolist() == [histories.items_of(1)[4]]


@given(st.lists(st.integers(0, 4), min_size=3, max_size=40), st.integers(1, 12))
def test_top_items_are_the_stable_sort(values: list[int], k: int) -> None:
    """Many ties: the lower item must come first, whatever the partition did."""
    scores = np.array([[0.0, *values]], dtype=np.float32)
    best = top_items(scores, [History.of_items([2])], k)[0].tolist()
    order = sorted((i for i in range(1, len(values) + 1) if i != 2), key=lambda i: -scores[0, i])
    assert best == (order[:k] + [0] * k)[:k]


def test_the_scorer_hears_what_leaves_the_list() -> None:
    """All that was seen but the target, and nothing where seen items are kept."""
    scorer = Fixed([5, 4, 3, 2, 1])
    evaluate(scorer, one([1, 3, 1], 3), 5)
    assert scorer.leaving == [[1, 1]]
    evaluate(scorer, one([1, 3, 1], 3), 5, keep_seen=True)
    assert scorer.leaving == []

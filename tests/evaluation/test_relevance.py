"""Relevance by hand: which candidates count, who counts, and that ties count against the scorer."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from moerec.data.sequences import Histories, History
from moerec.evaluation.relevance import RatedCases, rank, rated_cases, relevance
from moerec.evaluation.relevance_table import relevance_figures, relevance_notes, relevance_table
from moerec.types import UserId

NOTHING = History.of_items([])


def cases_of(liked: Sequence[Sequence[int]]) -> RatedCases:
    return RatedCases(
        [NOTHING] * len(liked),
        [np.arange(1, len(one) + 1, dtype=np.int32) for one in liked],
        [np.array(one, dtype=bool) for one in liked],
    )


class Fixed:
    """Gives each candidate the probability 0.9, 0.8, ... by its place."""

    name = "fixed"

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        assert len(histories) == len(candidates)
        return [np.linspace(0.9, 0.1, len(items)).astype(np.float32) for items in candidates]


def test_precision_counts_the_first_k_of_users_who_have_k() -> None:
    found = relevance(Fixed(), [], cases_of([[1, 0, 1, 1, 1, 0], [0, 1], [1]]), 3.0)
    model, chance = found.results
    at_1, at_5 = model.precisions
    assert (at_1.users, at_5.users) == (3, 1)
    assert at_1.mean == pytest.approx(2 / 3)
    assert at_5.mean == pytest.approx(4 / 5)
    assert chance.precisions[0].mean == pytest.approx((4 / 6 + 1 / 2 + 1) / 3)
    assert found.base_rate == pytest.approx(6 / 9)


def test_ties_count_against_the_scorer() -> None:
    questions = cases_of([[1, 0, 1]])
    found = rank("constant", [np.full(3, 0.5, np.float32)], questions)
    assert found.precisions[0].mean == 0.0
    assert found.auc == 0.5


def test_the_area_is_of_pairs_within_a_user() -> None:
    """The first user's pairs: liked first in 1 of 2; the second has no pair and does not count."""
    scores = [np.array([0.9, 0.5, 0.1], np.float32), np.array([0.2], np.float32)]
    assert rank("two", scores, cases_of([[0, 1, 0], [1]])).auc == 0.5


def test_the_log_loss_is_of_all_candidates() -> None:
    found = relevance(Fixed(), [], cases_of([[1, 0]]), 3.0)
    assert found.log_loss == pytest.approx(-np.log(0.9))


def test_nobody_with_five_is_not_a_number_but_a_dash() -> None:
    found = relevance(Fixed(), [], cases_of([[1, 1], [0]]), 3.0)
    assert found.results[0].precisions[1].users == 0
    table = relevance_table(found)
    assert table is not None
    assert [column._cells[0] for column in table.columns[2:]] == ["-", "-"]
    assert relevance_figures(found)["results"]["fixed"]["p@1"] == 0.5


def test_one_item_each_is_no_ranking() -> None:
    """A table of P@1 that was the base rate for every scorer used to stand after each leave-one-out."""
    found = relevance(Fixed(), [], cases_of([[1], [0]]), 3.0)
    assert relevance_table(found) is None
    assert any("is not measured" in note for note in relevance_notes(found))


def test_candidates_are_known_rated_and_in_the_part() -> None:
    """User a: an event without a value, an unknown item, an item rated twice; user b has nothing rated."""
    nan = float("nan")
    histories = Histories(
        [UserId("a"), UserId("b")],
        np.array([0, 7, 9]),
        np.array([1, 2, 3, 0, 4, 4, 5, 1, 2], np.int32),
        np.arange(9),
        np.array([5, 4, nan, 5, 3, 1, 2, 5, nan], np.float32),
    )
    found = rated_cases(
        histories, np.array([0, 1]), np.array([2, 1]), np.array([6, 2]), liked_from=3.0
    )
    assert [items.tolist() for items in found.candidates] == [[4]]
    assert found.liked[0].tolist() == [True]
    assert found.histories[0].items.tolist() == [1, 2]

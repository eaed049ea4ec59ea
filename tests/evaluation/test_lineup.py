"""The baselines of an evaluation: who stands in line, what they learned from, how their knobs were chosen."""

import dataclasses

import numpy as np
import pytest

from moerec.data.sequences import Histories
from moerec.data.split import HoldOut, hold_out, leave_one_out
from moerec.evaluation.ease import EASE, LARGEST_CATALOGUE
from moerec.evaluation.evaluate import cases, evaluate
from moerec.evaluation.item_knn import ItemKNN, nearest_items
from moerec.evaluation.lineup import ITEM_KNN_KNOBS, PENALTIES, Lineup, learn_baselines
from tests.logs import walking_interactions, with_histories

ID_MAP, HISTORIES = with_histories(walking_interactions())
CATALOGUE = len(ID_MAP)


def train_of(histories: Histories, held: HoldOut) -> list[np.ndarray]:
    return [
        histories.items_of(user)[: held.train_lengths[user]] for user in range(len(histories.users))
    ]


@pytest.mark.parametrize(
    ("lineup", "names"),
    [
        ("none", []),
        ("fast", ["Markov chain", "popularity"]),
        ("all", ["Markov chain", "EASE", "item-kNN", "popularity"]),
    ],
)
def test_who_stands_in_line(lineup: Lineup, names: list[str]) -> None:
    found = learn_baselines(lineup, HISTORIES, leave_one_out(HISTORIES), CATALOGUE)
    assert [scorer.name for scorer in found.scorers] == names
    assert len(found.notes) == 2 * (lineup == "all")


def test_the_knobs_are_the_best_on_validation() -> None:
    """Every candidate again, outside: nobody has a better NDCG@10 than the chosen one."""
    held = leave_one_out(HISTORIES)
    train = train_of(HISTORIES, held)
    found = learn_baselines("all", HISTORIES, held, CATALOGUE)
    users, places = held.targets("validation")
    questions = cases(HISTORIES, users, places.astype(np.int64))
    _, ease, knn, _ = (
        evaluate(scorer, questions, CATALOGUE).summary["ndcg@10"] for scorer in found.scorers
    )
    others = [EASE(train, CATALOGUE, penalty) for penalty in PENALTIES]
    assert ease == max(evaluate(s, questions, CATALOGUE).summary["ndcg@10"] for s in others)
    neighbourly = [
        ItemKNN(nearest_items(train, CATALOGUE, neighbours, shrinkage), decay)
        for neighbours, shrinkage, decay in ITEM_KNN_KNOBS
    ]
    ndcgs = [evaluate(s, questions, CATALOGUE).summary["ndcg@10"] for s in neighbourly]
    assert knn == max(ndcgs) > min(ndcgs)
    assert "best of 3 on 60 validation events" in found.notes[0]
    neighbours, shrinkage, decay = ITEM_KNN_KNOBS[int(np.argmax(ndcgs))]
    assert (
        f"{neighbours} neighbours, shrinkage {shrinkage:g}, recency decay {decay:g};"
        in (found.notes[1])
    )


def test_nothing_is_learned_from_the_test_event() -> None:
    """Other test events, same baselines: to the last bit, knobs included."""
    held = leave_one_out(HISTORIES)
    other = HISTORIES.items.copy()
    last = HISTORIES.offsets[1:] - 1
    other[last] = other[last] % CATALOGUE + 1
    changed = learn_baselines("all", with_items(other), held, CATALOGUE)
    plain = learn_baselines("all", HISTORIES, held, CATALOGUE)
    users, places = held.targets("validation")
    asked = cases(HISTORIES, users, places.astype(np.int64)).histories
    assert changed.notes == plain.notes
    for one, two in zip(changed.scorers, plain.scorers, strict=True):
        np.testing.assert_array_equal(one.scores(asked), two.scores(asked))


def test_items_that_the_bundle_does_not_know_teach_nothing() -> None:
    """They are 0 in the histories, the padding; counted, they would be everybody's nearest neighbour."""
    items = HISTORIES.items.copy()
    items[::3] = 0
    found = learn_baselines("all", with_items(items), leave_one_out(HISTORIES), CATALOGUE)
    asked = cases(HISTORIES, np.arange(5), np.full(5, 9)).histories
    for scorer in found.scorers:
        assert (scorer.scores(asked)[:, 0] == 0).all()


def test_without_validation_events_the_defaults() -> None:
    found = learn_baselines("all", HISTORIES, hold_out("none", HISTORIES, True), CATALOGUE)
    assert found.notes[0] == "EASE: penalty 100; nothing is held out to choose them on"
    assert found.notes[1].startswith("item-kNN: 500 neighbours, shrinkage 3, recency decay 0.6;")


def test_a_large_catalogue_goes_without_ease_and_says_so() -> None:
    found = learn_baselines("all", HISTORIES, leave_one_out(HISTORIES), LARGEST_CATALOGUE + 1)
    assert [scorer.name for scorer in found.scorers] == ["Markov chain", "item-kNN", "popularity"]
    assert found.notes[0].startswith("EASE is left out: ")
    assert "20,001 items" in found.notes[0]


def test_progress_counts_the_candidates() -> None:
    steps: list[tuple[str, int, int]] = []
    learn_baselines(
        "all",
        HISTORIES,
        leave_one_out(HISTORIES),
        CATALOGUE,
        on_progress=lambda *step: steps.append(step),
    )
    assert [step for step in steps if step[0] == "learning EASE"] == [
        ("learning EASE", done, len(PENALTIES)) for done in range(1, len(PENALTIES) + 1)
    ]
    assert steps[-1] == ("learning item-kNN", len(ITEM_KNN_KNOBS), len(ITEM_KNN_KNOBS))


def with_items(items: np.ndarray) -> Histories:
    """The same users and times, other items."""
    return dataclasses.replace(HISTORIES, items=items)

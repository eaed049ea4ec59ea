"""Which baselines an evaluation stands beside: learned from what trains, their knobs chosen on validation."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from moerec.data.sequences import Histories
from moerec.data.split import HoldOut
from moerec.errors import UsageError
from moerec.evaluation.baselines import MarkovChain, Popularity, item_counts
from moerec.evaluation.ease import EASE
from moerec.evaluation.evaluate import Cases, Scorer, cases, evaluate
from moerec.evaluation.item_knn import ItemKNN, nearest_items

Lineup = Literal["all", "fast", "none"]
Items = NDArray[np.int32]
Candidates = Iterator[tuple[Scorer, str]]
OnProgress = Callable[[str, int, int], None]
"""Gets (what is at work, steps done, steps in all)."""

TUNING_USERS: Final = 2_000
"""At most so many validation events choose the knobs."""

# The first of each is the default, taken where nothing is held out for validation.
PENALTIES: Final = (100.0, 30.0, 300.0)
ITEM_KNN_KNOBS: Final = tuple(itertools.product((500, 50), (3.0, 0.0, 10.0), (0.6, 0.8, 0.4, 1.0)))
"""Neighbours, shrinkage, recency decay."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """The learned baselines in the order of the table; `notes` tell chosen knobs and who is left out."""

    scorers: list[Scorer]
    notes: list[str]


def learn_baselines(
    lineup: Lineup,
    histories: Histories,
    held: HoldOut,
    catalogue: int,
    *,
    on_progress: OnProgress = lambda _name, _done, _total: None,
) -> Baselines:
    """ "fast": the Markov chain and popularity; "all": EASE and item-kNN too, which may take minutes.

    They learn from the training part alone. EASE and item-kNN take the knobs with the best NDCG@10 on
    a sample of the validation events (seen items removed).
    """
    if lineup == "none":
        return Baselines([], [])
    train = [_known(histories, user, held.train_lengths) for user in range(len(histories.users))]
    flat = np.concatenate([*train, np.zeros(0, np.int32)])
    scorers: list[Scorer] = [MarkovChain(train, catalogue)]
    notes = []
    if lineup == "all":
        tuning = _Tuning(_tuning_questions(histories, held), catalogue, on_progress)
        for name, candidates, total in (
            (EASE.name, _ease(train, catalogue), len(PENALTIES)),
            (ItemKNN.name, _item_knn(train, catalogue), len(ITEM_KNN_KNOBS)),
        ):
            try:
                scorer, knobs = tuning.best(name, candidates, total)
            except UsageError as error:
                notes.append(f"{name} is left out: {error.message}")
            else:
                scorers.append(scorer)
                notes.append(f"{name}: {knobs}")
    return Baselines([*scorers, Popularity(item_counts(flat, catalogue))], notes)


@dataclass(frozen=True, slots=True)
class _Tuning:
    """Chooses among candidates by what they do to the questions."""

    questions: Cases
    catalogue: int
    on_progress: OnProgress

    def best(self, name: str, candidates: Candidates, total: int) -> tuple[Scorer, str]:
        """The candidate with the best NDCG@10, with its knobs; without questions the first."""
        scorer, knobs = next(candidates)
        if len(self.questions) == 0:
            return scorer, f"{knobs}; nothing is held out to choose them on"
        ndcg = self._ndcg(scorer)
        for tried, (other, other_knobs) in enumerate(candidates, start=1):
            self.on_progress(f"learning {name}", tried, total)
            if (other_ndcg := self._ndcg(other)) > ndcg:
                scorer, knobs, ndcg = other, other_knobs, other_ndcg
        self.on_progress(f"learning {name}", total, total)
        return scorer, f"{knobs}; best of {total} on {len(self.questions):,} validation events"

    def _ndcg(self, scorer: Scorer) -> float:
        return evaluate(scorer, self.questions, self.catalogue).summary["ndcg@10"]


def _ease(train: list[Items], catalogue: int) -> Candidates:
    for penalty in PENALTIES:
        yield EASE(train, catalogue, penalty), f"penalty {penalty:g}"


def _item_knn(train: list[Items], catalogue: int) -> Candidates:
    for (neighbours, shrinkage), knobs in itertools.groupby(
        ITEM_KNN_KNOBS, lambda knobs: knobs[:2]
    ):
        nearness = nearest_items(train, catalogue, neighbours, shrinkage)
        for *_, decay in knobs:
            yield (
                ItemKNN(nearness, decay),
                f"{neighbours} neighbours, shrinkage {shrinkage:g}, recency decay {decay:g}",
            )


def _tuning_questions(histories: Histories, held: HoldOut) -> Cases:
    """A sample of the validation events, the same at every call."""
    users, places = held.targets("validation")
    chosen = np.sort(np.random.default_rng(0).permutation(len(users))[:TUNING_USERS])
    return cases(histories, users[chosen], places[chosen].astype(np.int64))


def _known(histories: Histories, user: int, train_lengths: NDArray[np.int32]) -> Items:
    items = histories.items_of(user)[: train_lengths[user]]
    known: Items = items[items != 0]
    return known

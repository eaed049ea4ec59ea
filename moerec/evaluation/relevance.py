"""Relevance: of the held-out items a user really rated, are those liked that are ranked first?

Letters: U users, C candidates of a user, N candidates of all users, one user after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from moerec.data.sequences import Histories, History
from moerec.evaluation.calibration import Predictions

CUTOFFS: Final = (1, 5)
_Z95: Final = 1.96
_LEAST_CHANCE: Final = 1e-9


class LikedScorer(Protocol):
    """Anything that can say how well a user will like an item."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        """A number for each candidate of each history, the higher the better liked."""
        ...


@dataclass(frozen=True, slots=True)
class RatedCases:
    """U questions: which of `candidates[u]`, rated after `histories[u]`, are `liked[u]`?"""

    histories: list[History]
    candidates: list[NDArray[np.int32]]
    liked: list[NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def base_rate(self) -> float:
        """Share of all candidates that are liked."""
        return float(np.concatenate(self.liked).mean())


@dataclass(frozen=True, slots=True)
class Precision:
    """P@`k`: over `users`, the `mean` share of the first k that is liked, and half its 95 % interval.

    Only users with k candidates or more count; NaN without one.
    """

    k: int
    users: int
    mean: float
    margin: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """How a scorer ranked. `auc` is the mean over users of the chance that of a liked and another
    candidate the liked one stands first, a tie counting half; NaN if no user has both."""

    name: str
    precisions: list[Precision]
    auc: float


@dataclass(frozen=True, slots=True)
class Relevance:
    """`results`: the model, then the baselines, chance last. `predictions` are the model's [N].

    `liked_from` is the least value that counts as liked; `log_loss` the model's mean over N, in nats.
    """

    liked_from: float
    users: int
    base_rate: float
    results: list[Ranked]
    predictions: Predictions
    log_loss: float


def rated_cases(
    histories: Histories,
    users: NDArray[np.int64],
    places: NDArray[np.int64],
    ends: NDArray[np.int64],
    liked_from: float,
) -> RatedCases:
    """The rated events from `places` to before `ends` of the histories of `users`, who have one.

    Items that the id map does not know are no candidates: nobody could rank them. An item that was
    rated twice is one, with its first value.
    """
    found = RatedCases([], [], [])
    for user, place, end in zip(users.tolist(), places.tolist(), ends.tolist(), strict=True):
        history = histories.history_of(user)
        later = history[place:end].known()
        later = later[~np.isnan(later.values)]
        items, first = np.unique(later.items, return_index=True)
        if len(items):
            found.histories.append(history[:place].known())
            found.candidates.append(items)
            found.liked.append(later.values[first] >= liked_from)
    return found


def relevance(
    model: LikedScorer, baselines: Sequence[LikedScorer], questions: RatedCases, liked_from: float
) -> Relevance:
    """Rank each user's candidates by the model, which gives probabilities, by baselines, and by chance."""
    scores = model.liked(questions.histories, questions.candidates)
    results = [rank(model.name, scores, questions)]
    for scorer in baselines:
        found = scorer.liked(questions.histories, questions.candidates)
        results.append(rank(scorer.name, found, questions))
    predictions = Predictions(np.concatenate(scores), np.concatenate(questions.liked))
    true = np.where(predictions.outcome_N, predictions.probability_N, 1 - predictions.probability_N)
    log_loss = -np.log(true.astype(np.float64).clip(_LEAST_CHANCE)).mean()
    results.append(_chance(questions))
    return Relevance(
        liked_from, len(questions), questions.base_rate, results, predictions, float(log_loss)
    )


def rank(name: str, scores: Sequence[NDArray[np.float32]], questions: RatedCases) -> Ranked:
    """Ties count against the scorer: what is not liked goes first."""
    ranked = [
        liked[np.lexsort((liked, -score))]
        for score, liked in zip(scores, questions.liked, strict=True)
    ]
    precisions = [
        _precision(k, [liked[:k].mean() for liked in ranked if len(liked) >= k]) for k in CUTOFFS
    ]
    areas = [
        _area(score, liked)
        for score, liked in zip(scores, questions.liked, strict=True)
        if liked.any() and not liked.all()
    ]
    return Ranked(name, precisions, float(np.mean(areas)) if areas else float("nan"))


def _chance(questions: RatedCases) -> Ranked:
    """What a random order gives on average, exactly."""
    shares = [
        _precision(k, [liked.mean() for liked in questions.liked if len(liked) >= k])
        for k in CUTOFFS
    ]
    return Ranked("chance", shares, 0.5)


def _precision(k: int, shares: Sequence[float]) -> Precision:
    if not shares:
        return Precision(k, 0, float("nan"), float("nan"))
    error = float(np.std(shares)) / np.sqrt(len(shares))
    return Precision(k, len(shares), float(np.mean(shares)), float(_Z95 * error))


def _area(scores: NDArray[np.float32], liked: NDArray[np.bool_]) -> float:
    """By ranks (Mann and Whitney 1947)."""
    ranks = rankdata(scores)
    count = int(liked.sum())
    won = ranks[liked].sum() - count * (count + 1) / 2
    return float(won / (count * (len(liked) - count)))

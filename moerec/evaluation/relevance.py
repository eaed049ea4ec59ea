"""Relevance: of the held-out items a user really rated, are those liked that are ranked first?

Letters: U users, C candidates of a user, N candidates of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from moerec.data.sequences import Histories, History

CUTOFFS: Final = (1, 5)
_Z95: Final = 1.96


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
        """Share of all candidates that are liked: P@k of chance, about."""
        return float(np.concatenate(self.liked).mean())


@dataclass(frozen=True, slots=True)
class Precision:
    """P@`k`, the mean over `users` of the share of the first k that is liked, and half its 95 % interval.

    Only users with k candidates or more count.
    """

    k: int
    users: int
    mean: float
    margin: float


@dataclass(frozen=True, slots=True)
class Relevance:
    """What `evaluate_relevance` found. `scores` float32 [N] and `liked` bool [N] are of all candidates."""

    name: str
    precisions: list[Precision]
    scores: NDArray[np.float32]
    liked: NDArray[np.bool_]


def rated_cases(
    histories: Histories,
    users: NDArray[np.int64],
    places: NDArray[np.int64],
    liked_from: float,
) -> RatedCases:
    """The rated events from `places` on of the histories of `users`; users without one are left out.

    Items the id map does not know are no candidates: nobody could rank them.
    """
    found = RatedCases([], [], [])
    for user, place in zip(users.tolist(), places.tolist(), strict=True):
        history = histories.history_of(user)
        later = history[place:].known()
        later = later[~np.isnan(later.values)]
        if len(later):
            found.histories.append(history[:place].known())
            found.candidates.append(later.items)
            found.liked.append(later.values >= liked_from)
    return found


def evaluate_relevance(scorer: LikedScorer, questions: RatedCases) -> Relevance:
    """Rank each user's candidates. Ties count against the scorer: what is not liked goes first."""
    scores = scorer.liked(questions.histories, questions.candidates)
    ranked = [
        liked[np.lexsort((liked, -score))]
        for score, liked in zip(scores, questions.liked, strict=True)
    ]
    return Relevance(
        scorer.name,
        [_precision(ranked, k) for k in CUTOFFS],
        np.concatenate(scores),
        np.concatenate(questions.liked),
    )


def _precision(ranked: Sequence[NDArray[np.bool_]], k: int) -> Precision:
    shares_U = np.array([liked[:k].mean() for liked in ranked if len(liked) >= k])
    if len(shares_U) == 0:
        return Precision(k, 0, float("nan"), float("nan"))
    error = shares_U.std() / np.sqrt(len(shares_U))
    return Precision(k, len(shares_U), float(shares_U.mean()), float(_Z95 * error))

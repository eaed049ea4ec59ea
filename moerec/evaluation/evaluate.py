"""One way to score anything that ranks items: full ranking of one held-out event a user.

Letters: B users of a chunk, U evaluated users, V items (column 0 is the padding).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from moerec.data.sequences import Histories, History
from moerec.evaluation import metrics

CUTOFFS: Final = (1, 5, 10, 20, 50, 200)
LIST_LENGTH: Final = 50
CHUNK: Final = 256

Items = NDArray[np.int32]
Scores = NDArray[np.float32]


class Scorer(Protocol):
    """Anything that can give every item a number for a history."""

    @property
    def name(self) -> str:
        """What the table calls it."""
        ...

    def scores(self, histories: Sequence[History], leaving: Sequence[Items] = ()) -> Scores:
        """float32 [B, V + 1] for B histories of known items (column 0 is ignored).

        `leaving[b]` are items that will not be in list b (by default none): their scores do not matter.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cases:
    """U questions: after `histories[u]`, where does `targets[u]` (0: not in the catalogue) rank?

    Histories hold known items only. `users` are the rows of the log's users.
    """

    users: NDArray[np.int64]
    histories: list[History]
    targets: Items

    def __len__(self) -> int:
        return len(self.targets)

    def some(self, rows: NDArray[np.int64]) -> "Cases":
        """The questions at `rows`."""
        histories = [self.histories[row] for row in rows.tolist()]
        return Cases(self.users[rows], histories, self.targets[rows])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found. `lists` int32 [U, 50]: the top items after seen ones are out, 0 = none left."""

    name: str
    ranks: NDArray[np.int64]
    candidates: NDArray[np.int64]
    lists: Items
    catalogue: int
    summary: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", self._summarise())

    def _summarise(self) -> dict[str, float]:
        if len(self.ranks) == 0:
            return {}
        percentiles = metrics.percentiles(self.ranks, self.candidates)
        shown = np.unique(self.lists[:, :10])
        return {
            **{f"hr@{k}": metrics.hit_rate(self.ranks, k) for k in CUTOFFS},
            **{f"ndcg@{k}": metrics.ndcg(self.ranks, k) for k in CUTOFFS},
            **{f"mrr@{k}": metrics.mrr(self.ranks, k) for k in CUTOFFS},
            "coverage@10": float(np.count_nonzero(shown) / self.catalogue),
            "percentile_mean": float(percentiles.mean()),
            "percentile_median": float(np.median(percentiles)),
        }


def cases(histories: Histories, users: NDArray[np.int64], places: NDArray[np.int64]) -> Cases:
    """The held-out events at `places` of the histories of `users`, as questions."""
    known = []
    for user, place in zip(users.tolist(), places.tolist(), strict=True):
        known.append(histories.history_of(user)[:place].known())
    return Cases(users, known, histories.items[histories.offsets[users] + places])


def evaluate(
    scorer: Scorer,
    questions: Cases,
    catalogue: int,
    *,
    keep_seen: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Rank every target in the whole catalogue of `catalogue` items.

    Items of the history leave the ranking, the target never does; with `keep_seen` nothing leaves.
    Ties count against the scorer, and so does a score that is not a number.
    """
    ranks, candidates, lists = [], [], []
    for chunk in _chunks(len(questions)):
        past, targets = questions.histories[chunk], questions.targets[chunk]
        scores = scorer.scores(past, () if keep_seen else what_leaves(past, targets))
        lists.append(top_items(scores, past, LIST_LENGTH, keep_seen=keep_seen))
        chunk_ranks, chunk_candidates = rank_targets(scores, past, targets, keep_seen=keep_seen)
        ranks.append(chunk_ranks)
        candidates.append(chunk_candidates)
        if on_progress:
            on_progress(len(targets))
    return Evaluation(
        scorer.name,
        np.concatenate([*ranks, np.zeros(0, np.int64)]),
        np.concatenate([*candidates, np.zeros(0, np.int64)]),
        np.concatenate([*lists, np.zeros((0, LIST_LENGTH), np.int32)]),
        catalogue,
    )


def what_leaves(past: Sequence[History], targets: Items) -> list[Items]:
    """The items of each history without the target, which stays a candidate if it was seen before."""
    return [
        history.items[history.items != target]
        for history, target in zip(past, targets.tolist(), strict=True)
    ]


def top_items(scores: Scores, past: Sequence[History], k: int, *, keep_seen: bool = False) -> Items:
    """The best `k` items of each row [B, k], ties by the lower index; 0 where none is left.

    Items of the histories `past` are left out unless `keep_seen`; so are scores that are not numbers.
    """
    scores = np.where(_taken_out(scores, past, keep_seen) | np.isnan(scores), -np.inf, scores)
    width = min(k, scores.shape[1])
    limits = np.partition(scores, -width, axis=1)[:, -width]
    best = np.zeros((len(scores), k), dtype=np.int32)
    for row, (line, limit) in enumerate(zip(scores, limits, strict=True)):
        columns = np.flatnonzero((line >= limit) & (line > -np.inf))
        order = columns[np.argsort(-line[columns], kind="stable")][:k]
        best[row, : len(order)] = order
    return best


def _taken_out(scores: Scores, past: Sequence[History], keep_seen: bool) -> NDArray[np.bool_]:
    """Which columns of each row are no candidates: the padding, and what was seen."""
    out = np.zeros(scores.shape, dtype=bool)
    out[:, 0] = True
    if not keep_seen:
        rows = np.repeat(np.arange(len(past)), [len(history) for history in past])
        out[rows, np.concatenate([*(history.items for history in past), np.zeros(0, np.int32)])] = (
            True
        )
    return out


def rank_targets(
    scores: Scores, past: Sequence[History], targets: Items, *, keep_seen: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank of each target and the number of its candidates; `MISS` for target 0."""
    out = _taken_out(scores, past, keep_seen)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    rows = np.arange(len(targets))
    kept = ~out
    kept[rows, targets] = targets != 0
    ahead = (scores >= scores[rows, targets][:, None]) & kept
    ranks = np.where(targets != 0, ahead.sum(axis=1), metrics.MISS)
    return ranks.astype(np.int64), kept.sum(axis=1).astype(np.int64)


def _chunks(total: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, total, CHUNK))

"""The Python face: fit on a frame, recommend to anybody, keep the same bundle the server takes."""

import math
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from rich.console import Console

from moerec.artifacts.bundle import Bundle, copy_bundle, read_bundle
from moerec.data.id_map import IdMap
from moerec.data.interactions import ColumnNames, Interactions, from_frame, read_interactions
from moerec.data.item_features import item_features
from moerec.data.items import ItemTable
from moerec.data.sequences import History, build_histories
from moerec.errors import UsageError
from moerec.evaluation.evaluate import top_items
from moerec.evaluation.model_scorer import ModelScorer
from moerec.models.loading import load_model
from moerec.settings import Settings
from moerec.store.sql import open_event_store
from moerec.types import ItemId, Recommendation, UserId

SEEN_LIMIT: Final = 10_000
"""Newest stored events that a list is made from."""


class Recommender:
    """A bundle in memory, with the histories it was fitted on.

    >>> recommender = Recommender.fit(frame)                      # doctest: +SKIP
    >>> recommender.recommend(["ann", "bob"], k=10)               # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, interactions: Interactions | None = None) -> None:
        self.bundle = bundle
        self._model = load_model(bundle.config, bundle.weights())
        self._scorer = ModelScorer(self._model)
        self._histories: dict[UserId, History] = {}
        if interactions is not None:
            histories = build_histories(interactions, bundle.id_map)
            for row, user in enumerate(histories.users):
                self._histories[user] = histories.history_of(row).known()

    @classmethod
    def fit(
        cls,
        frame: object,
        *,
        items: ItemTable | None = None,
        out: Path | str | None = None,
        columns: ColumnNames | None = None,
        split: str = "leave-one-out",
        fit_all: bool = False,
        epochs: int | None = None,
        liked: float | None = None,
        preset: str = "auto",
        settings: Mapping[str, int | float | str] | None = None,
        seed: int = 0,
        device: str = "auto",
        verbose: bool = True,
    ) -> "Recommender":
        """Train on a Polars or pandas frame with a user, an item and a time column.

        Without `out` the bundle lives in a temporary folder as long as the object; `save` keeps it.
        `preset` and `settings` are `--preset` and `--set` of `moerec train`, like {"dropout": 0.3}.
        Raises what `moerec train` refuses.
        """
        from moerec.training.display import TrainingDisplay
        from moerec.training.fit import FitOptions, fit_bundle
        from moerec.training.presets import Variant

        interactions = from_frame(frame, columns)
        scratch = tempfile.mkdtemp(prefix="moerec-") if out is None else ""
        folder = Path(scratch, out or "bundle")
        options = FitOptions(
            split=split,
            fit_all=fit_all,
            epochs=epochs,
            liked=liked,
            seed=seed,
            device=device,
            variant=Variant(preset, settings or {}),
        )
        with ExitStack() as undo:
            if scratch:
                undo.callback(shutil.rmtree, scratch, ignore_errors=True)
            with TrainingDisplay(Console(quiet=not verbose)) as display:
                bundle = fit_bundle(
                    interactions, folder, items=items, options=options, watch=display.update
                )
            recommender = cls(bundle, interactions)
            undo.pop_all()
        if scratch:
            weakref.finalize(recommender, shutil.rmtree, scratch, ignore_errors=True)
        return recommender

    @classmethod
    def load(cls, path: Path | str, interactions: Interactions | None = None) -> "Recommender":
        """Open a bundle; `interactions` gives it users to recommend to."""
        return cls(read_bundle(path), interactions)

    def recommend(
        self, users: Sequence[str | int], k: int = 10, *, exclude_seen: bool = True
    ) -> pl.DataFrame:
        """The top `k` of each user: user_id (a string, as everywhere), item_id, title, rank, score.

        A user without a known event gets no rows. UsageError for a `k` below 1.
        """
        asked = [UserId(str(user)) for user in users]
        known = [user for user in asked if len(self._histories.get(user, ()))]
        lists = self._lists([self._histories[user] for user in known], k, exclude_seen)
        rows = [
            (user, item.item_id, item.title, item.rank, item.score)
            for user, items in zip(known, lists, strict=True)
            for item in items
        ]
        names = {
            "user_id": pl.String,
            "item_id": pl.String,
            "title": pl.String,
            "rank": pl.Int64,
            "score": pl.Float64,
        }
        return pl.DataFrame(rows, schema=names, orient="row")

    def recommend_for(
        self, history: Sequence[str | int] | History, k: int = 10, *, exclude_seen: bool = True
    ) -> list[Recommendation]:
        """The top `k` after a history: of item ids, oldest first, or of events with time and value.

        UsageError if none of the items is known, or for a `k` below 1.
        """
        return self._lists([self._known(history)], k, exclude_seen)[0]

    def rank(
        self,
        history: Sequence[str | int] | History,
        items: Sequence[str | int],
        by: Literal["next", "liked"] = "next",
    ) -> list[Recommendation]:
        """The given items, best first, after a history as in `recommend_for`.

        By "next" the score is that of the lists, by "liked" the probability that the user likes the
        item. Items the bundle does not know are left out. UsageError if it knows none of the history,
        or was trained on a log without values and is asked for "liked".
        """
        known = self._known(history)
        asked = np.unique(self.bundle.id_map.indexes([str(item) for item in items]))
        asked = asked[asked != 0].astype(np.int32)
        if by == "liked":
            found = self._scorer.liked([known], [asked])[0]
        else:
            found = self._scorer.scores([known])[0][asked]
        scores = np.zeros(len(self.bundle.id_map) + 1, np.float32)
        scores[asked] = found
        return self._named(asked[np.argsort(-found, kind="stable")].tolist(), scores)

    def _known(self, history: Sequence[str | int] | History) -> History:
        if not isinstance(history, History):
            ids = [str(item) for item in history]
            history = History.of_items(self.bundle.id_map.indexes(ids))
        known = history.known()
        if len(known) == 0:
            raise UsageError(
                "the bundle knows none of the items of this history",
                "Give item ids as they stand in the log it was trained on.",
            )
        return known

    def item_vectors_of(self, items: ItemTable) -> NDArray[np.float32]:
        """Where items that came after the training belong: [n, D], from content alone.

        A user's score for such an item is the inner product of the two vectors, as for any other. All are
        equally long: 1, or what makes up for the table of transitions, which cannot know them. An item of
        which the bundle recognises nothing gets zeros. UsageError if the bundle knows no content.
        """
        if self.bundle.content is None:
            raise UsageError(
                "this bundle was trained without the content of items, so it cannot place new ones",
                "Train with --items FILE.",
            )
        count = len(items.frame)
        rows = np.arange(1, count + 1, dtype=np.int32)
        content = item_features(self.bundle.content, items, rows, count)
        arrays = (content.offsets[1:], content.features, content.weights)
        vectors = self._model.vectors_of(*(torch.as_tensor(array) for array in arrays))
        return np.asarray(vectors.numpy(), dtype=np.float32)

    def save(self, path: Path | str) -> Path:
        """Copy the bundle to a new folder; `moerec serve --bundle` takes it."""
        return copy_bundle(self.bundle, Path(path)).path

    def _lists(
        self,
        histories: list[History],
        k: int,
        exclude_seen: bool,
    ) -> list[list[Recommendation]]:
        if k < 1:
            raise UsageError(f"a list of {k} items cannot be made", "Ask for 1 or more.")
        if not histories:
            return []
        seen = [history.items for history in histories] if exclude_seen else []
        scores = self._scorer.scores(histories, seen)
        lists = top_items(scores, histories, k, keep_seen=not exclude_seen)
        return [
            self._named(items[items > 0][:k].tolist(), row)
            for items, row in zip(lists, scores, strict=True)
        ]

    def _named(self, items: list[int], scores: NDArray[np.float32]) -> list[Recommendation]:
        ids = self.bundle.id_map.ids_of(items)
        return [
            Recommendation(ItemId(name), rank, float(scores[item]), self.bundle.titles[item - 1])
            for rank, (name, item) in enumerate(zip(ids, items, strict=True), start=1)
        ]


def history_of(
    user: str, id_map: IdMap, *, data: str | None = None, columns: ColumnNames | None = None
) -> History:
    """A user's events: from the log `data`, or else from the event store.

    Raises UsageError for a user that is not there.
    """
    if data is not None:
        log = read_interactions(data, columns)
        mine = replace(log, frame=log.frame.filter(pl.col("user_id") == user))
        found = build_histories(mine, id_map)
        history = found.history_of(0) if found.users else History.of_items([])
        place = data
    else:
        history = _stored_history(UserId(user), id_map)
        place = "the event store"
    if not len(history):
        raise UsageError(
            f"there is no event of user {user!r} in {place}",
            "Check the id, or give a log with --data, or item ids with --history.",
        )
    return history


def _stored_history(user: UserId, id_map: IdMap) -> History:
    settings = Settings.load()
    with closing(open_event_store(settings.database_url, settings.durability)) as store:
        events = [stored.event for stored in store.history(user, SEEN_LIMIT)]
    values = [math.nan if event.value is None else event.value for event in events]
    return History(
        id_map.indexes([event.item_id for event in events]),
        np.array([event.timestamp_ms for event in events], np.int64),
        np.array(values, np.float32),
    )

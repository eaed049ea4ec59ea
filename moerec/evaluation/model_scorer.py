"""The model as a `Scorer`: what evaluation, notebooks and the command line score with."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.data.sequences import History
from moerec.errors import UsageError
from moerec.models.events import Events
from moerec.models.recommender import MoERecommender, UserVectors

BATCH: Final = 64


class ModelScorer:
    """Scores through `MoERecommender.user_vectors`, as the engine does.

    A history without a known item scores 0 everywhere: every tie counts against the model.
    """

    name = "moerec"

    def __init__(self, model: MoERecommender) -> None:
        self._model = model.eval()
        with torch.inference_mode():
            self._item_vectors = model.item_vectors()
            self._liked_items = (
                None if model.liked is None else model.liked.catalogue_rows(self._item_vectors)
            )

    def scores(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """float32 [B, V + 1]: cosines, raised by the table of transitions, re-ranked by "liked"."""
        result = np.zeros((len(histories), len(self._item_vectors)), dtype=np.float32)
        for users, rows in encoded(self._model, histories):
            with torch.inference_mode():
                scores = self._model.score(users.vectors, users.recent, self._item_vectors)
                ranked = self._model.rerank(scores, users.liked, self._liked_items)
            result[rows] = ranked.float().cpu().numpy()
        return result

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        """The probability that each of a history's candidates (item indexes) will be liked.

        UsageError if the model was trained on a log without values.
        """
        if self._model.liked is None or self._liked_items is None:
            raise UsageError(
                "this bundle does not know what is liked: its log had no values to learn from",
                "Train on a log with ratings or another value (--value COLUMN).",
            )
        chances = []
        with torch.inference_mode():
            users_UG = self._model.liked.nobody().repeat(len(histories), 1)
            for users, rows in encoded(self._model, histories):
                if users.liked is not None:
                    users_UG[rows] = users.liked
            for user_G, items in zip(users_UG, candidates, strict=True):
                items_CG = self._liked_items[torch.as_tensor(items.astype(np.int64))]
                chances.append(torch.sigmoid(items_CG @ user_G).cpu().numpy())
        return chances


def encoded(
    model: MoERecommender, histories: Sequence[History]
) -> Iterator[tuple[UserVectors, list[int]]]:
    """The vectors of all histories that are not empty, batch by batch, with their rows."""
    # Neighbours in length share a batch, so that little of it is padding.
    order = sorted(
        (row for row, history in enumerate(histories) if len(history)),
        key=lambda row: len(histories[row]),
    )
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield encode(model, [histories[row] for row in rows]), rows


def encode(model: MoERecommender, histories: Sequence[History]) -> UserVectors:
    """The vectors of histories, none of them empty, in one batch on the model's device."""
    return model.user_vectors(*flat_events(model, histories))


def flat_events(
    model: MoERecommender, histories: Sequence[History]
) -> tuple[Events, Tensor, Tensor]:
    """The events that the model reads of each history, one after the other, where each begins, and ends."""
    device = next(model.parameters()).device
    recent = [history[-model.config.reach :] for history in histories]
    ends = torch.tensor(np.cumsum([len(history) for history in recent]))
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    flat = Events(
        torch.as_tensor(np.concatenate([history.items for history in recent]).astype(np.int64)),
        torch.as_tensor(np.concatenate([history.timestamps for history in recent])),
        torch.as_tensor(np.concatenate([history.values for history in recent])),
    )
    return flat.to(device), starts.to(device), ends.to(device)

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
from moerec.models.recommender import MoERecommender, UserVectors, take_out

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

    @property
    def liked_from(self) -> float | None:
        """The least value that counts as liked; None for a model without that head."""
        return None if self._model.liked is None else self._model.config.liked_from

    @property
    def catalogue(self) -> int:
        """How many items there are."""
        return self._model.config.items

    def scores(
        self, histories: Sequence[History], leaving: Sequence[NDArray[np.int32]] = ()
    ) -> NDArray[np.float32]:
        """float32 [B, V + 1]: cosines, raised by the table of transitions, re-ranked by "liked".

        The items `leaving` score -inf, and are no candidates of the re-ranking.
        """
        result = np.zeros((len(histories), len(self._item_vectors)), dtype=np.float32)
        for users, rows in encoded(self._model, histories, self._item_vectors):
            with torch.inference_mode():
                scores = self._model.score(users.vectors, users.recent, self._item_vectors)
                take_out(scores, [leaving[row].tolist() for row in rows] if leaving else [])
                scores = self._model.rerank(scores, users.liked)
            result[rows] = scores.float().cpu().numpy()
        return result

    def liked(
        self, histories: Sequence[History], candidates: Sequence[NDArray[np.int32]]
    ) -> list[NDArray[np.float32]]:
        """The probability that each of a history's candidates (item indexes) will be liked.

        UsageError if the model has no head for it.
        """
        head = self._model.liked
        if head is None:
            raise UsageError(
                'this bundle does not know what is "liked": its log had no values to learn it from',
                "Train on a log with ratings or another value (--value COLUMN).",
            )
        with torch.inference_mode():
            rows_UG = head.nobody().repeat(len(histories), 1)
            for users, rows in encoded(self._model, histories, self._item_vectors):
                if users.liked is not None:
                    rows_UG[rows] = users.liked
            return [
                torch.sigmoid(head.logits(row_G[None], _indexes(items, row_G.device))[0])
                .cpu()
                .numpy()
                for row_G, items in zip(rows_UG, candidates, strict=True)
            ]


def encoded(
    model: MoERecommender, histories: Sequence[History], vectors_VD: Tensor | None = None
) -> Iterator[tuple[UserVectors, list[int]]]:
    """The vectors of all histories that are not empty, batch by batch, with their rows.

    `vectors_VD` as in `encode`.
    """
    # Neighbours in length share a batch, so that little of it is padding.
    order = sorted(
        (row for row, history in enumerate(histories) if len(history)),
        key=lambda row: len(histories[row]),
    )
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        yield encode(model, [histories[row] for row in rows], vectors_VD), rows


def encode(
    model: MoERecommender, histories: Sequence[History], vectors_VD: Tensor | None = None
) -> UserVectors:
    """The vectors of histories, none of them empty, in one batch on the model's device.

    `vectors_VD` are the model's `item_vectors`, from who has them already.
    """
    return model.user_vectors(*flat_events(model, histories), vectors_VD)


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


def _indexes(items: NDArray[np.int32], device: torch.device) -> Tensor:
    return torch.as_tensor(items.astype(np.int64), device=device)[None]

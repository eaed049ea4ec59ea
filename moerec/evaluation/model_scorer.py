"""The model as a `Scorer`: what evaluation, notebooks and the command line score with."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.data.sequences import History
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

    def scores(self, histories: Sequence[History]) -> NDArray[np.float32]:
        """float32 [B, V + 1]: cosines, raised by the table of transitions."""
        result = np.zeros((len(histories), len(self._item_vectors)), dtype=np.float32)
        # Neighbours in length share a batch, so that little of it is padding.
        order = sorted(
            (row for row, history in enumerate(histories) if len(history)),
            key=lambda row: len(histories[row]),
        )
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            result[rows] = self._batch([histories[row] for row in rows])
        return result

    def _batch(self, histories: list[History]) -> NDArray[np.float32]:
        users = encode(self._model, histories, self._item_vectors)
        with torch.inference_mode():
            scores: NDArray[np.float32] = (
                self._model.score(users.vectors, users.recent, self._item_vectors)
                .float()
                .cpu()
                .numpy()
            )
        return scores


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

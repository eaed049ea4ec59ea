"""The model as a `Scorer`: what evaluation, notebooks and the command line score with."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from moerec.models.recommender import MoERecommender

BATCH: Final = 64


class ModelScorer:
    """Scores through `MoERecommender.user_vectors`, as the engine does.

    A history without a known item scores 0 everywhere: every tie counts against the model.
    """

    name = "moerec"

    def __init__(self, model: MoERecommender) -> None:
        self._model = model.eval()
        self._device = next(model.parameters()).device
        with torch.inference_mode():
            self._item_vectors = model.item_vectors()

    def scores(self, histories: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """float32 [B, V + 1], cosines."""
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

    def _batch(self, histories: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        reach = self._model.config.reach
        recent = [history[-reach:] for history in histories]
        ends = torch.tensor(np.cumsum([len(history) for history in recent]))
        starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
        flat = torch.as_tensor(np.concatenate(recent).astype(np.int64))
        device = self._device
        users = self._model.user_vectors(
            flat.to(device), starts.to(device), ends.to(device), self._item_vectors
        )
        with torch.inference_mode():
            scores: NDArray[np.float32] = (
                self._model.score(users.vectors, self._item_vectors).float().cpu().numpy()
            )
        return scores

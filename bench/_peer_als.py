"""A peer of `peers.py`: alternating least squares of `implicit` (Hu, Koren, Volinsky 2008).

A user's vector is that of the training: an event takes its item off the lists, and does nothing else.
"""

from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from _peer_app import Lists, Question, World, run
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

FILE = "als.npz"
ROUNDS = 3


def matrix(histories: Sequence[Sequence[int]], items: int) -> csr_matrix:
    """Users by items, 1 where there was an event."""
    offsets = np.cumsum([0, *map(len, histories)])
    places = np.fromiter(chain.from_iterable(histories), np.int32)
    # An item twice in a history is one entry for what is liked already.
    return csr_matrix((np.ones(len(places), np.float32), places, offsets), (len(histories), items))


class Service:
    """The model with lists of a batch at a time."""

    def __init__(self, model: AlternatingLeastSquares) -> None:
        self._model = model

    def best(self, questions: Sequence[Question], k: int) -> Lists:
        """The lists of a batch."""
        seen = matrix([each.history for each in questions], len(self._model.item_factors))
        users = np.array([each.user for each in questions])
        items, scores = self._model.recommend(users, seen, N=k, filter_already_liked_items=True)
        return items, scores


def make(world: World, folder: Path, shape: dict[str, Any]) -> None:
    """Trained on the histories; item vectors as wide as the other models'."""
    model = AlternatingLeastSquares(
        factors=shape["dim"], iterations=ROUNDS, random_state=shape["seed"], use_gpu=False
    )
    model.fit(matrix(world.histories(), len(world.item_ids)), show_progress=False)
    model.save(str(folder / FILE))


def load(_: World, folder: Path, settings: dict[str, Any]) -> Service:
    """For the service."""
    model = AlternatingLeastSquares().load(str(folder / FILE))
    model.num_threads = settings["threads"]
    return Service(model)


def offline(world: World, folder: Path, asked: Sequence[Question], k: int) -> Lists:
    """Its `recommend`, a user at a time."""
    model = AlternatingLeastSquares().load(str(folder / FILE))
    found = [
        model.recommend(each.user, matrix([each.history], len(world.item_ids)), N=k)
        for each in asked
    ]
    return np.stack([items for items, _ in found]), np.stack([scores for _, scores in found])


def libraries() -> dict[str, str]:
    """Versions."""
    return {name: version(name) for name in ("implicit", "fastapi", "uvicorn")}


if __name__ == "__main__":
    run(make, load, offline, libraries)

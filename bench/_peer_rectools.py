"""A peer of `peers.py`: SASRec of RecTools.

Its `recommend` wants a dataset of pandas frames for each call, and computes the vectors of all items anew.
So the service does what stands within: a session as `SASRecDataPreparator` pads it, `encode_sessions` of
its network with vectors of items that are computed once, and one of its two rankers. Offline it is
`recommend`.

Letters: B histories, T places of a session, D width, V items, P padding and items.
"""

import logging
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _peer_app import Lists, Question, World, run
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel, load_model
from rectools.models.rank import Distance, ImplicitRanker, TorchRanker
from scipy.sparse import csr_matrix

FILE = "rectools.pkl"
STEPS = 5
Histories = Sequence[Sequence[int]]


def dataset_of(histories: Histories) -> Dataset:
    """Users are numbered as they come; the place in the history stands for the time."""
    lengths = list(map(len, histories))
    places = np.concatenate([np.arange(length) for length in lengths])
    frame = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(lengths)), lengths),
            Columns.Item: np.fromiter(chain.from_iterable(histories), np.int64),
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(places, unit="s"),
        }
    )
    return Dataset.construct(frame)


def trainer() -> Trainer:
    """A few steps: speed does not hang on the weights, and answers are compared with themselves."""
    return Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, max_steps=STEPS, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def make(world: World, folder: Path, shape: dict[str, Any]) -> None:
    """Every item has to be in the log: users who walk through all of them stand beside the real ones."""
    torch.manual_seed(shape["seed"])
    length = shape["length"]
    walks = np.array_split(np.arange(len(world.item_ids)), len(world.item_ids) // length + 1)
    model = SASRecModel(
        n_factors=shape["dim"],
        n_blocks=shape["layers"],
        n_heads=shape["heads"],
        session_max_len=length,
        loss="sampled_softmax",
        n_negatives=32,
        get_trainer_func=trainer,
    )
    model.fit(dataset_of([*world.histories(), *(walk.tolist() for walk in walks)]))
    model.save(folder / FILE)


class Service:
    """The network and a ranker, without `recommend` around them."""

    def __init__(self, model: SASRecModel, items: int, ranker: str, threads: int) -> None:
        self._network = model.torch_model.eval()
        self._session = model.data_preparator._collate_fn_recommend
        self._ranker, self._threads = ranker, threads
        # Their rows begin with the padding.
        self._rows_V = model.data_preparator.item_id_map.convert_to_internal(np.arange(items))
        self._places_P = np.zeros(items + 1, np.int64)
        self._places_P[self._rows_V] = np.arange(items)
        with torch.inference_mode():
            self._vectors_PD = self._network.item_model.get_all_embeddings()
            factors_PD = self._network.similarity_module.item_tower_forward(self._vectors_PD)
        self._factors_VD = factors_PD[1:].clone()

    @torch.inference_mode()
    def best(self, questions: Sequence[Question], k: int) -> Lists:
        """The lists of a batch."""
        sessions = [self._rows_V[each.history] for each in questions]
        batch = self._session([(session, [], {}) for session in sessions])
        found_BTD = self._network.encode_sessions(batch, self._vectors_PD)
        users_BD = self._network.similarity_module.session_tower_forward(found_BTD[:, -1, :])
        offsets = np.cumsum([0, *map(len, sessions)])
        seen = csr_matrix(
            (np.ones(offsets[-1], np.float32), np.concatenate(sessions) - 1, offsets),
            (len(questions), len(self._rows_V)),
        )
        rows = np.arange(len(questions))
        if self._ranker == "torch":
            ranker = TorchRanker(
                Distance.DOT, "cpu", users_BD, self._factors_VD, batch_size=len(questions)
            )
        else:
            ranker = ImplicitRanker(
                Distance.DOT, users_BD.numpy(), self._factors_VD.numpy(), self._threads
            )
        _, items, scores = ranker.rank(rows, k, seen)
        places = self._places_P[np.asarray(items) + 1].reshape(-1, k)
        return places, np.asarray(scores, np.float32).reshape(-1, k)


def load(world: World, folder: Path, settings: dict[str, Any]) -> Service:
    """For the service."""
    torch.set_num_threads(settings["threads"])
    model = load_model(folder / FILE)
    return Service(model, len(world.item_ids), settings["ranker"], settings["threads"])


def offline(_: World, folder: Path, asked: Sequence[Question], k: int) -> Lists:
    """Its `recommend`, on a dataset with a user for each history."""
    model = load_model(folder / FILE)
    histories = [each.history for each in asked]
    found = model.recommend(np.arange(len(asked)), dataset_of(histories), k, filter_viewed=True)
    found = found.sort_values([Columns.User, Columns.Rank])
    items = found[Columns.Item].to_numpy().reshape(-1, k)
    return items, found[Columns.Score].to_numpy(np.float32).reshape(-1, k)


def libraries() -> dict[str, str]:
    """Versions."""
    return {name: version(name) for name in ("rectools", "torch", "fastapi", "uvicorn")}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    run(make, load, offline, libraries)

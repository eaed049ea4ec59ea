"""What both sides of `training_speed.py` train on: the sequences of a log, or synthetic ones."""

import sys
from typing import Any

import numpy as np
from _machine import ROOT
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.data.id_map import build_id_map
from moerec.data.interactions import read_interactions
from moerec.data.sequences import Histories, build_histories
from moerec.data.split import leave_one_out
from moerec.training.segments import Segments

Array = NDArray[Any]
Arrays = dict[str, Array]
"""`items` 1..V, `timestamps` and `values` of all events, `offsets` of the users, `catalogue` V, and
`timed`: has the log times?"""


def sequences_of_log(log: str) -> Arrays:
    """The training events of every user who has two."""
    interactions = read_interactions(log)
    histories = build_histories(interactions, build_id_map(interactions))
    trained = leave_one_out(histories).train_lengths.astype(np.int64)
    lengths = np.where(trained >= 2, trained, 0)
    place = runs_of_places(histories.offsets[:-1], lengths)
    found = arrays(histories.items[place], histories.timestamps[place], histories.values[place])
    return found | {
        "offsets": offsets(lengths[lengths > 0]),
        "timed": np.array(interactions.has_time),
    }


def synthetic_sequences(users: int, items: int, seed: int) -> Arrays:
    """Users who walk among neighbouring items, some more often met; half have fewer than 40 events."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(40), 1.0, users), 2, 2_000).astype(np.int64)
    total = int(lengths.sum())
    start = np.repeat(items * rng.random(users) ** 2, lengths)
    walk = (start + rng.normal(0, 5, total)).astype(np.int64) % items
    times = np.cumsum(rng.integers(60_000, 600_000, total))
    found = arrays(walk, times, np.full(total, np.nan))
    return found | {"offsets": offsets(lengths), "timed": np.array(True)}


def newest(sequences: Arrays, most: int) -> Arrays:
    """The last `most` events of each user."""
    bounds = sequences["offsets"]
    lengths = np.minimum(np.diff(bounds), most)
    place = runs_of_places(bounds[1:] - lengths, lengths)
    cut = arrays(*(sequences[name][place] for name in ("items", "timestamps", "values")))
    return sequences | cut | {"offsets": offsets(lengths)}


def events_of_a_step(sequences: Arrays, length: int, batch: int, seed: int) -> int:
    """About the least `batch_events` with which an epoch has as many steps as one of `batch` sequences."""
    bounds = sequences["offsets"]
    lengths = np.diff(bounds).astype(np.int32)
    events = (sequences[name] for name in ("items", "timestamps", "values"))
    histories = Histories([], bounds, *events)
    steps = -(-len(lengths) // batch)
    least, most = 1, length * batch
    while least < most:
        middle = (least + most) // 2
        segments = Segments(histories, lengths, length=length, batch_events=middle, seed=seed)
        least, most = (least, middle) if segments.count_batches() <= steps else (middle + 1, most)
    return least


def arrays(items: Array, timestamps: Array, values: Array) -> Arrays:
    """What both sides read. Items are numbered 1..V anew: those that occur are the catalogue."""
    known, numbers = np.unique(items, return_inverse=True)
    return {
        "items": (numbers + 1).astype(np.int32),
        "timestamps": timestamps.astype(np.int64),
        "values": values.astype(np.float32),
        "catalogue": np.array(len(known)),
    }


def offsets(lengths: Array) -> Array:
    """Where each user begins, and the end."""
    return np.concatenate([[0], np.cumsum(lengths)])


def runs_of_places(first: Array, lengths: Array) -> Array:
    """first[0], first[0] + 1, ... for `lengths[0]` places, then from first[1] on, ..."""
    return np.repeat(first - offsets(lengths)[:-1], lengths) + np.arange(lengths.sum())

"""Training histories as batches of segments, padded little, in an order that the seed decides.

Letters: S segments, B segments of a batch, L longest of them, P prefix.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.data.sequences import Histories
from moerec.models.config import SUMMARY_EVENTS
from moerec.models.events import Events

POOL_BATCHES: Final = 32
"""Segments are sorted by length within pools of about this many batches: little padding, much shuffle."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B segments and what comes next at each place.

    * `inputs` [B, L], padding after the end; `prefix` [B, P], the events before, padding before the
      oldest;
    * `targets` int64 [B, L]: item of the next event, 0 after the end;
    * `target_values` float32 [B, L]: its value, NaN where it has none.
    """

    inputs: Events
    prefix: Events
    targets: Tensor
    target_values: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return Batch(
            self.inputs.to(device),
            self.prefix.to(device),
            self.targets.to(device),
            self.target_values.to(device),
        )


class Segments:
    """The first `train_lengths[u]` events of every user; one segment predicts at most `length` of them."""

    def __init__(
        self,
        histories: Histories,
        train_lengths: NDArray[np.int32],
        *,
        length: int,
        batch_events: int,
        seed: int,
    ) -> None:
        trainable = train_lengths >= 2
        self._events = Events(
            torch.as_tensor(histories.items.astype(np.int64)),
            torch.tensor(histories.timestamps),
            torch.tensor(histories.values),
        )
        self._begin = histories.offsets[:-1][trainable]
        self._steps = train_lengths[trainable].astype(np.int64) - 1
        self._length = length
        self._batch_events = batch_events
        self._seed = seed

    @property
    def targets(self) -> int:
        """Events that one epoch predicts."""
        return int(self._steps.sum())

    def count_batches(self) -> int:
        """Batches of epoch 0; other epochs have about as many."""
        rng = np.random.default_rng([self._seed, 0])
        first, last, _ = self._cut(rng)
        return len(self._batches(last - first, rng))

    def epoch(self, number: int) -> Iterator[Batch]:
        """All segments once. The same seed and number give the same batches in the same order."""
        rng = np.random.default_rng([self._seed, number])
        first, last, begin = self._cut(rng)
        for rows in self._batches(last - first, rng):
            yield self._batch(first[rows], last[rows], begin[rows])

    def _cut(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """First and last place (exclusive) of each segment's inputs, and where its user begins."""
        length = self._length
        shift = np.where(self._steps > length, rng.integers(0, length, len(self._steps)), 0)
        pieces = -(-(self._steps + shift) // length)
        owner = np.repeat(np.arange(len(pieces)), pieces)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        edge = nth * length - shift[owner]
        first = self._begin[owner] + np.maximum(edge, 0)
        last = self._begin[owner] + np.minimum(edge + length, self._steps[owner])
        return first, last, self._begin[owner]

    def _batches(
        self, lengths: NDArray[np.int64], rng: np.random.Generator
    ) -> list[NDArray[np.int64]]:
        """Rows of each batch: neighbours in length, at most `batch_events` padded events."""
        order = rng.permutation(len(lengths))
        pool_events = POOL_BATCHES * self._batch_events
        pool = np.cumsum(lengths[order]) // pool_events
        order = order[np.lexsort((lengths[order], pool))]
        batches, start, longest = [], 0, 0
        for place, length in enumerate(lengths[order].tolist()):
            longest = max(longest, length)
            if (place + 1 - start) * longest > self._batch_events and place > start:
                batches.append(order[start:place])
                start, longest = place, length
        if start < len(order):
            batches.append(order[start:])
        return [batches[row] for row in rng.permutation(len(batches))]

    def _batch(
        self, first: NDArray[np.int64], last: NDArray[np.int64], begin: NDArray[np.int64]
    ) -> Batch:
        first_B, last_B, begin_B = (torch.as_tensor(array) for array in (first, last, begin))
        place_BL = first_B[:, None] + torch.arange(int((last_B - first_B).max()))
        inside_BL = place_BL < last_B[:, None]
        following = self._events.at(place_BL + 1, inside_BL)
        width = min(SUMMARY_EVENTS, int((first_B - begin_B).max()))
        prefix_BP = first_B[:, None] - width + torch.arange(width)
        return Batch(
            inputs=self._events.at(place_BL, inside_BL),
            prefix=self._events.at(prefix_BP, prefix_BP >= begin_B[:, None]),
            targets=following.items,
            target_values=following.values,
        )

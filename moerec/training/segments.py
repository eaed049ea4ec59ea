"""Training histories as batches of segments, padded little, in an order that the seed decides.

Letters: S segments, B segments of a batch, L longest of them, P prefix.
The events stay where they are, 16 bytes each, in memory or in a mapped file; a batch is the only copy.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moerec.data.sequences import Histories
from moerec.models.config import SUMMARY_EVENTS
from moerec.models.events import Events, moved
from moerec.types import PADDING

POOL_BATCHES: Final = 32
"""Segments are sorted by length within pools of about this many batches: little padding, much shuffle."""

EVERYTHING: Final = slice(None)


@dataclass(frozen=True, slots=True)
class Batch:
    """B segments and what comes next at each place.

    * `inputs` [B, L], padding after the end; `prefix` [B, P], the events before, padding before the
      oldest;
    * `targets` int64 [B, L]: item of the next event, 0 after the end;
    * `target_values` float32 [B, L]: its value, NaN where it has none;
    * `share`, which rows of the whole batch these segments are; `all_segments` and `all_targets` count
      the whole one. They differ from B and the targets here where several processes share a batch.
    """

    inputs: Events
    prefix: Events
    targets: Tensor
    target_values: Tensor
    share: slice
    all_segments: int
    all_targets: int

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; a GPU copies it while the processor goes on."""
        return replace(
            self,
            inputs=self.inputs.to(device),
            prefix=self.prefix.to(device),
            targets=moved(self.targets, device),
            target_values=moved(self.target_values, device),
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
        self._histories = histories
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

    def epoch(self, number: int, *, skip: int = 0, share: slice = EVERYTHING) -> Iterator[Batch]:
        """All segments once, but for the first `skip` batches; of each batch the rows `share`.

        The same seed and number give the same batches in the same order.
        """
        rng = np.random.default_rng([self._seed, number])
        first, last, begin = self._cut(rng)
        for rows in self._batches(last - first, rng)[skip:]:
            targets = int((last[rows] - first[rows]).sum())
            mine = rows[share]
            batch = self._batch(first[mine], last[mine], begin[mine])
            yield Batch(*batch, share=share, all_segments=len(rows), all_targets=targets)

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
    ) -> tuple[Events, Events, Tensor, Tensor]:
        """`inputs`, `prefix`, `targets` and `target_values` of a `Batch`."""
        place_BL = first[:, None] + np.arange((last - first).max(initial=0))
        inside_BL = place_BL < last[:, None]
        following = self._events_at(place_BL + 1, inside_BL)
        width = min(SUMMARY_EVENTS, int((first - begin).max(initial=0)))
        prefix_BP = first[:, None] - width + np.arange(width)
        return (
            self._events_at(place_BL, inside_BL),
            self._events_at(prefix_BP, prefix_BP >= begin[:, None]),
            following.items,
            following.values,
        )

    def _events_at(self, place: NDArray[np.int64], inside: NDArray[np.bool_]) -> Events:
        """The events at `place`, in its shape; padding where `inside` is false."""
        known, place = self._histories, place.clip(0, len(self._histories.items) - 1)
        return Events(
            torch.from_numpy(np.where(inside, known.items[place], PADDING).astype(np.int64)),
            torch.from_numpy(np.where(inside, known.timestamps[place], 0)),
            torch.from_numpy(np.where(inside, known.values[place], np.float32(np.nan))),
        )

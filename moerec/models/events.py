"""What the model reads: events as three tensors of one shape."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from moerec.types import PADDING


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Events of any common shape: flat [N], in rows [B, L].

    * `items` int64: item index, 0 where there is no event (padding);
    * `times` int64, UTC ms, 0 in the padding;
    * `values` float32: rating or weight, NaN where an event has none and in the padding.
    """

    items: Tensor
    times: Tensor
    values: Tensor

    def at(self, place: Tensor, inside: Tensor) -> "Events":
        """The flat events at `place`, in its shape; padding where `inside` is false."""
        place, outside = place.clamp(0, len(self.items) - 1), ~inside
        return Events(
            self.items[place].masked_fill(outside, PADDING),
            self.times[place].masked_fill(outside, 0),
            self.values[place].masked_fill(outside, math.nan),
        )

    def to(self, device: torch.device) -> "Events":
        """The same events on `device`."""
        return Events(
            moved(self.items, device), moved(self.times, device), moved(self.values, device)
        )


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`. From pinned memory a GPU copies it while the processor goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)

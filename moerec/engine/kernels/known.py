"""A small table of the items that a list need not look for: it stays in the nearest cache, however many items
there are.

Letters: S slots, a power of two.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, compiled

LEFT_OUT: Final = np.float32(-1.0)

GOLDEN: Final = 2_654_435_769
"""2^32 / the golden ratio: neighbouring items are sent far apart."""


class Known(NamedTuple):
    """`items_S`, 0 in a free slot, and how likely each of them follows, or `LEFT_OUT`."""

    items_S: NDArray[np.int32]
    chances_S: Floats


@compiled
def room_for(items: int) -> Known:
    """An empty table, half of which stays empty."""
    slots = 64
    while slots < 2 * items:
        slots *= 2
    return Known(np.zeros(slots, np.int32), np.zeros(slots, np.float32))


@compiled
def slot_of(items_S: NDArray[np.int32], item: int) -> int:
    """Where the item is, or where it would be put."""
    last = len(items_S) - 1
    slot, step = ((item * GOLDEN) >> 12) & last, 0
    while items_S[slot] != 0 and items_S[slot] != item:
        # Growing steps come to every slot, and leave a crowd soon, whoever chose the items.
        step += 1
        slot = (slot + step) & last
    return slot

"""Items that an index does not speak for: those that left the catalogue, and those that it has not met."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FRESH: Final = np.int8(1)
GONE: Final = np.int8(2)
NO_ITEMS: Final = np.zeros(0, np.int32)


class Standing(NamedTuple):
    """`of_V`: `GONE` for an item that is in no list, `FRESH` for one that is compared by itself, else 0; and
    the items `fresh_N`, once each, some of them perhaps gone again."""

    of_V: NDArray[np.int8]
    fresh_N: NDArray[np.int32]


def all_here(items: int) -> Standing:
    """Of items 1 to `items`, which all are where the index says."""
    return Standing(np.zeros(items + 1, np.int8), NO_ITEMS)

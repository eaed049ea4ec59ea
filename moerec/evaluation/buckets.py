"""Whole numbers in ranges ("1", "2", "3-5", "6-10" ...), and items in tenths of the catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DECILES: Final = 10


@dataclass(frozen=True, slots=True)
class Buckets:
    """Ranges that begin at `starts` (ascending); the last one has no end.

    >>> Buckets((1, 2, 3, 6)).labels
    ['1', '2', '3-5', '6+']
    """

    starts: Sequence[int]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def labels(self) -> list[str]:
        """What a table calls each range."""
        ends = [start - 1 for start in self.starts[1:]]
        closed = [
            str(start) if start == end else f"{start}-{end}"
            for start, end in zip(self.starts, ends, strict=False)
        ]
        return [*closed, f"{self.starts[-1]}+"]

    def of(self, numbers: NDArray[np.integer]) -> NDArray[np.int64]:
        """The number of each one's range, from 0; numbers are `starts[0]` or more.

        >>> Buckets((1, 2, 3, 6)).of(np.array([1, 5, 6, 99])).tolist()
        [0, 2, 3, 3]
        """
        return np.searchsorted(np.asarray(self.starts), numbers, side="right") - 1


def popularity_deciles(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tenths of the catalogue by popularity, int64 [V + 1]: 1 the most popular, 10 the least, 0 padding.

    `counts` int64 [V + 1] are training events; among equals the lower index counts as more popular.

    >>> popularity_deciles(np.array([0, *range(20)])).tolist()
    [0, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    """
    deciles = np.zeros(len(counts), dtype=np.int64)
    order = np.argsort(-counts[1:], kind="stable") + 1
    deciles[order] = np.arange(len(order)) * DECILES // max(len(order), 1) + 1
    return deciles

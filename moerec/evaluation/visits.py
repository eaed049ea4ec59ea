"""Histories as a sparse matrix: who has been with which item, and how long ago.

Letters: B histories, V items (column 0 is the padding).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def visits(
    histories: Sequence[NDArray[np.int32]], catalogue: int, recency_decay: float = 1.0
) -> sparse.csr_array[np.float32]:
    """float32 [B, V + 1]: `recency_decay`^k for the k-th item from the end, k = 0, 1, ...; else 0.

    An item that comes more than once counts as its last visit; with a decay of 1 all count 1.
    """
    width = catalogue + 1
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    row = np.repeat(np.arange(len(lengths)), lengths)
    column = np.concatenate([*histories, np.zeros(0, np.int32)])
    ages = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(len(row))
    # Backwards, because `unique` keeps the first of equal cells.
    cells, last = np.unique((row * width + column)[::-1], return_index=True)
    weights = (recency_decay ** ages[::-1][last]).astype(np.float32)
    return sparse.coo_array((weights, np.divmod(cells, width)), shape=(len(lengths), width)).tocsr()

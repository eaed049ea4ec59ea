"""The nearest items of a user, cell by cell: a cell that cannot hold one of them is not read.

Letters: V items, D width, C cells, n places of a list.

Items are compared by vectors in 8 bits, a cache line for each 64 coordinates; the best of them by the vectors
themselves.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled
from moerec.engine.kernels.heap import offer

SPARE: Final = 10
"""So many more than a list has are kept by their vectors in 8 bits, of which the list is the best."""

FIRST: Final = 8
"""The most promising cells are read first, so that what the others are held against is high early."""


class Index(NamedTuple):
    """The catalogue in C cells of items that lie near each other.

    * `centroids_CD`: the mean of each cell's vectors; without cells all items are to be read;
    * `spreads_C`: so much nearer than its centroid the nearest item of a cell is taken to be at most;
    * `ends_C`: cell c is the places `ends_C[c - 1]` to `ends_C[c]` of the two that follow;
    * `items_V`: the items, cell by cell;
    * `codes_VD`: their vectors in steps of `step`.
    """

    centroids_CD: Floats
    spreads_C: Floats
    ends_C: Ints
    items_V: NDArray[np.int32]
    codes_VD: NDArray[np.int8]
    step: np.float32


@compiled
def nearby(
    index: Index,
    vectors_VD: Floats,
    user_D: Floats,
    cosines_C: Floats,
    marks_V: Ints,
    list_number: int,
    items_n: Ints,
    keys_n: Floats,
) -> int:
    """As `lists.nearest`, in the cells that can hold one of them, as `cosines_C` of the centroids says."""
    C, kept = len(cosines_C), len(items_n) + SPARE
    items, keys = np.empty(kept, np.int64), np.empty(kept, np.float32)
    scaled_D = user_D * index.step
    first, nearness = np.empty(FIRST, np.int64), np.empty(FIRST, np.float32)
    firsts, count = 0, 0
    for cell in range(C):
        cosines_C[cell] += index.spreads_C[cell]
        if firsts < FIRST or cosines_C[cell] > nearness[0]:
            firsts = offer(first, nearness, firsts, cell, cosines_C[cell])
    for place in range(firsts):
        count = read_cell(index, first[place], scaled_D, marks_V, list_number, items, keys, count)
        cosines_C[first[place]] = -np.inf
    for cell in range(C):
        if cosines_C[cell] > -np.inf and (count < kept or cosines_C[cell] >= keys[0]):
            count = read_cell(index, cell, scaled_D, marks_V, list_number, items, keys, count)
    found = 0
    for place in range(count):
        item = items[place]
        found = offer(items_n, keys_n, found, item, dot(user_D, vectors_VD[item]))
    return found


@compiled
def read_cell(
    index: Index,
    cell: int,
    scaled_D: Floats,
    marks_V: Ints,
    list_number: int,
    items_n: Ints,
    keys_n: Floats,
    count: int,
) -> int:
    """Offers the items of a cell that are not marked to the heap of `count`; how many are in there then."""
    worst = keys_n[0] if count == len(items_n) else np.float32(-np.inf)
    for place in range(index.ends_C[cell - 1] if cell else 0, index.ends_C[cell]):
        key = rough_dot(scaled_D, index.codes_VD[place])
        if key > worst and marks_V[index.items_V[place]] != list_number:
            count = offer(items_n, keys_n, count, index.items_V[place], key)
            if count == len(items_n):
                worst = keys_n[0]
    return count


@compiled
def dot(x_D: Floats, y_D: Floats) -> np.float32:
    """x . y"""
    sum_ = np.float32(0.0)
    for place in range(len(x_D)):
        sum_ += x_D[place] * y_D[place]
    return sum_


@compiled
def rough_dot(x_D: Floats, codes_D: NDArray[np.int8]) -> np.float32:
    """x . y for a y in 8 bits, x times their step given."""
    sum_ = np.float32(0.0)
    for place in range(len(x_D)):
        sum_ += x_D[place] * np.float32(codes_D[place])
    return sum_

"""The nearest items of a user, cell by cell: a cell that cannot hold one of them is not read.

Letters: V items, D width, C cells, H coordinates of a head, n places of a list.

In a cell, items are first compared by their heads: the coordinates along which users differ most, in 8 bits.
What the rest of an item can add is bounded by its length, and how much of that bound (Cauchy-Schwarz) is
ever needed has been measured; the few that come so far are compared by the vectors themselves.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled
from moerec.engine.kernels.heap import offer, unheap
from moerec.engine.kernels.known import slot_of

FIRST: Final = 8
"""The most promising cells are read first, so that what the others are held against is high early."""


class Index(NamedTuple):
    """The catalogue in C cells of items that lie near each other.

    * `centroids_CD`: the mean of each cell's vectors; without cells all items are to be read;
    * `spreads_C`: so much nearer than its centroid the nearest item of a cell is taken to be at most, for a
      list that is full already and looks for better ones;
    * `wide_spreads_C`: the same for a list that the search has to fill; infinite where that takes all cells;
    * `ends_C`: cell c is the places `ends_C[c - 1]` to `ends_C[c]`;
    * `items_V`: the items, cell by cell;
    * `cells_V`: the cell of each item, from item 0 (padding) on;
    * `axes_DH`: H orthonormal directions, H a multiple of 4;
    * `heads_N`: their N = V * H coordinates along these, in steps of `step`, cell by cell and there axis by
      axis;
    * `rests_V`: times the length of a user across them, so much the rest of each item adds at most.
    """

    centroids_CD: Floats
    spreads_C: Floats
    wide_spreads_C: Floats
    ends_C: Ints
    items_V: NDArray[np.int32]
    cells_V: NDArray[np.int16]
    axes_DH: Floats
    heads_N: NDArray[np.int8]
    rests_V: Floats
    step: np.float32


class Near(NamedTuple):
    """What a search reads and fills besides the index: the user, the items it passes over (`Standing.of_V`
    other than 0, `Known.items_S`), and the heap of the best n so far."""

    vectors_VD: Floats
    user_D: Floats
    standing_V: NDArray[np.int8]
    known_S: NDArray[np.int32]
    items_n: Ints
    keys_n: Floats


class Head(NamedTuple):
    """A user along the index's axes, times its step; how long across them; and what rounding can hide."""

    user_H: Floats
    rest: np.float32
    slack: np.float32


@compiled
def nearby(index: Index, near: Near, count: int, reach_C: Floats, highest: Floats) -> int:
    """As `lists.nearest`, in the cells that can hold one of them.

    `reach_C` is how near the nearest item of each cell may be, and changed; `highest` has room for a cell.
    """
    vectors_VD, user_D, standing_V, known_S, items_n, keys_n = near
    ends_C, items_V = index.ends_C, index.items_V
    head, n = head_of(index, user_D), len(items_n)
    worst = keys_n[0] if count == n else np.float32(-np.inf)
    first = most_promising(reach_C, worst)
    for step in range(len(first) + len(reach_C)):
        cell = first[step] if step < len(first) else step - len(first)
        if reach_C[cell] < worst or reach_C[cell] == -np.inf:
            continue
        # Once is enough.
        reach_C[cell] = -np.inf
        begin = ends_C[cell - 1] if cell else 0
        size = ends_C[cell] - begin
        bound(index, head, begin, size, highest)
        for place in range(size):
            if highest[place] < worst:
                continue
            item = items_V[begin + place]
            if standing_V[item] != 0 or known_S[slot_of(known_S, item)] != 0:
                continue
            count = offer(items_n, keys_n, count, item, dot(user_D, vectors_VD[item]))
            if count == n:
                worst = keys_n[0]
    return count


@compiled
def most_promising(reach_C: Floats, worst: np.float32) -> Ints:
    """The `FIRST` cells that reach highest, best first, of those that come up to `worst`."""
    first, reach = np.empty(FIRST, np.int64), np.empty(FIRST, np.float32)
    count = 0
    for cell in range(len(reach_C)):
        if reach_C[cell] >= worst and (count < FIRST or reach_C[cell] > reach[0]):
            count = offer(first, reach, count, cell, reach_C[cell])
    unheap(first, reach, count)
    return first[:count]


@compiled
def largest(ends_C: Ints) -> int:
    """Items of the largest cell."""
    most = 0
    for cell in range(len(ends_C)):
        most = max(most, int(ends_C[cell] - (ends_C[cell - 1] if cell else 0)))
    return most


@compiled
def head_of(index: Index, user_D: Floats) -> Head:
    """The user as items' heads are compared with."""
    axes_DH, (D, H) = index.axes_DH, index.axes_DH.shape
    user_H = np.zeros(H, np.float32)
    for place in range(D):
        for axis in range(H):
            user_H[axis] += user_D[place] * axes_DH[place, axis]
    along, sizes = np.float32(0.0), np.float32(0.0)
    for axis in range(H):
        along += user_H[axis] * user_H[axis]
        sizes += abs(user_H[axis])
        user_H[axis] *= index.step
    rest = np.sqrt(max(dot(user_D, user_D) - along, np.float32(0.0)))
    # Half a step for each coordinate, and what sums in float32 round.
    return Head(user_H, rest, sizes * index.step * np.float32(0.5) + np.float32(1e-5))


@compiled
def bound(index: Index, head: Head, begin: int, size: int, highest: Floats) -> None:
    """How near each item of a cell can be at most."""
    user_H, rest, slack = head
    heads_N, rests_N = index.heads_N, index.rests_V[begin : begin + size]
    for place in range(size):
        highest[place] = rest * rests_N[place] + slack
    for axis in range(0, len(user_H), 4):
        first = begin * len(user_H) + axis * size
        u0, u1, u2, u3 = user_H[axis], user_H[axis + 1], user_H[axis + 2], user_H[axis + 3]
        heads0 = heads_N[first : first + size]
        heads1 = heads_N[first + size : first + 2 * size]
        heads2 = heads_N[first + 2 * size : first + 3 * size]
        heads3 = heads_N[first + 3 * size : first + 4 * size]
        for place in range(size):
            highest[place] += (
                u0 * np.float32(heads0[place])
                + u1 * np.float32(heads1[place])
                + u2 * np.float32(heads2[place])
                + u3 * np.float32(heads3[place])
            )


@compiled
def dot(x_D: Floats, y_D: Floats) -> np.float32:
    """x . y"""
    sum_ = np.float32(0.0)
    for place in range(len(x_D)):
        sum_ += x_D[place] * y_D[place]
    return sum_

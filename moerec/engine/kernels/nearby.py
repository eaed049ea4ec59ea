"""The nearest items of a user among those that an index names.

Letters: V items, D width, C clusters of users, N places of a cluster's list, n places of a list.

Candidates are compared by vectors in 8 bits, a cache line for each 64 coordinates; the best of them by
the vectors themselves.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled
from moerec.engine.kernels.heap import offer


class Index(NamedTuple):
    """Where to look: in the lists of those C clusters of users whose centroids are nearest.

    * `centroids_CD` of length 1; without clusters all items are to be read;
    * `lists_CN`: each cluster's items;
    * `codes_VD`: the items' vectors in steps of one size;
    * `probes`: so many clusters are looked through;
    * `depth`: the lists are made for so many of the nearest items, those that are left out among them.
    """

    centroids_CD: Floats
    lists_CN: NDArray[np.int32]
    codes_VD: NDArray[np.int8]
    probes: int
    depth: int


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
    """As `lists.nearest`, among the items of the clusters that `cosines_C` says are the nearest.

    0 where that would go deeper than the index is made for: for a very long list, or when many of the items
    nearby are to be left out, those that would take their places are further away than its lists reach.
    """
    probed, nearness = np.empty(index.probes, np.int64), np.empty(index.probes, np.float32)
    probes = 0
    for cluster in range(len(cosines_C)):
        if probes < index.probes or cosines_C[cluster] > nearness[0]:
            probes = offer(probed, nearness, probes, cluster, cosines_C[cluster])
    kept = 2 * len(items_n) + 20
    rough_items, rough_keys = np.empty(kept, np.int64), np.empty(kept, np.float32)
    rough, left_out, worst = 0, 0, np.float32(-np.inf)
    for probe in range(probes):
        list_N = index.lists_CN[probed[probe]]
        for place in range(len(list_N)):
            item = list_N[place]
            if marks_V[item] >= list_number:
                left_out += marks_V[item] == list_number
                continue
            marks_V[item] = list_number + 1
            key = rough_dot(user_D, index.codes_VD[item])
            if key < worst:
                continue
            rough = offer(rough_items, rough_keys, rough, item, key)
            if rough == kept:
                worst = rough_keys[0]
    if len(items_n) + left_out > index.depth:
        return 0
    count = 0
    for place in range(rough):
        item = rough_items[place]
        count = offer(items_n, keys_n, count, item, dot(user_D, vectors_VD[item]))
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
    """x . y for a y in 8 bits, in steps of y."""
    sum_ = np.float32(0.0)
    for place in range(len(x_D)):
        sum_ += x_D[place] * np.float32(codes_D[place])
    return sum_

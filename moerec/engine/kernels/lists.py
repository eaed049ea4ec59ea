"""The best items of a user: the nearest vectors, raised by what usually follows the last items.

Letters: B users, V items, D width, C cells, K neighbours of an item, R last items of a history, F followers,
n places of a list.

The score of an item is temperature * log(odds), odds = exp(cosine / temperature) + weight * chance (see
`moerec.models.transitions`). Who is nobody's neighbour keeps its cosine. So a list begins with the
followers, the neighbours of the last items; what is not among them has to be nearer than the last of the
list by then, which hardly any item is.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled, exp
from moerec.engine.kernels.heap import offer, unheap
from moerec.engine.kernels.known import LEFT_OUT, Known, room_for, slot_of
from moerec.engine.kernels.nearby import Index, Near, dot, largest, nearby
from moerec.engine.kernels.standing import GONE, Standing

ROUNDING: Final = np.float32(0.99999)
"""The odds of a place that are worked out from its score are this much higher than they were, at most."""


class Table(NamedTuple):
    """`moerec.models.transitions.Transitions` as arrays; `shares_R` is what each of the last items counts.

    What is not used of a row is its end, with chances of 0.
    """

    neighbors_VK: NDArray[np.int32]
    chances_VK: Floats
    shares_R: Floats
    weight: np.float32
    temperature: np.float32


class Asked(NamedTuple):
    """B lists: `sizes_B` places each, at most V, without the items `excluded_N[ends_B[b - 1]:ends_B[b]]`."""

    users_BD: Floats
    recent_BR: Ints
    excluded_N: NDArray[np.int32]
    ends_B: Ints
    sizes_B: Ints


class Followers(NamedTuple):
    """What follows the recent items: what the chances add to the odds; cosines at most, then odds at most."""

    items_F: Ints
    raised_F: Floats
    most_F: Floats


@compiled
def best_items(
    vectors_VD: Floats,
    table: Table,
    index: Index,
    standing: Standing,
    asked: Asked,
    items_Bn: Ints,
    scores_Bn: Floats,
) -> None:
    """Each list, best first, of equals the lower index first; places beyond a list's end are item 0."""
    searches = len(index.centroids_CD) > 0
    compared_PD = index.centroids_CD if searches else vectors_VD
    reach_4P = np.empty((4, len(compared_PD)), np.float32)
    highest = np.empty(largest(index.ends_C), np.float32)
    for row in range(len(items_Bn)):
        if row % 4 == 0:
            multiply(asked.users_BD[row : row + 4], compared_PD, reach_4P)
        size, reach_P = asked.sizes_B[row], reach_4P[row % 4]
        for cell in range(len(index.spreads_C)):
            reach_P[cell] += index.spreads_C[cell]
        left_out = asked.excluded_N[asked.ends_B[row - 1] if row else 0 : asked.ends_B[row]]
        known = room_for(len(left_out) + table.neighbors_VK.shape[1] * asked.recent_BR.shape[1])
        leave_out(known, left_out)
        user_D, items_n, keys_n = asked.users_BD[row], items_Bn[row, :size], scores_Bn[row, :size]
        near = Near(vectors_VD, user_D, standing.of_V, known.items_S, items_n, keys_n)
        count = 0
        if table.weight > 0:
            recent_R = asked.recent_BR[row]
            found = followers(table, recent_R, known, standing.of_V, reach_P, index.cells_V)
            count = with_followers(table, found, near)
        if count < size:
            for cell in range(len(index.spreads_C)):
                reach_P[cell] += index.wide_spreads_C[cell] - index.spreads_C[cell]
        count = with_fresh(standing.fresh_N, near, count)
        count = (
            nearby(index, near, count, reach_P, highest)
            if searches
            else nearest(reach_P, near, count)
        )
        unheap(items_n, keys_n, count)


@compiled
def leave_out(known: Known, items_N: NDArray[np.int32]) -> None:
    """Makes items known, one of them perhaps several times."""
    items_S, chances_S = known
    for item in items_N:
        if item != 0:
            slot = slot_of(items_S, item)
            items_S[slot], chances_S[slot] = item, LEFT_OUT


@compiled
def followers(
    table: Table,
    recent_R: Ints,
    known: Known,
    standing_V: NDArray[np.int8],
    reach_P: Floats,
    cells_V: NDArray[np.int16],
) -> Followers:
    """The followers that are not left out, with their cosines at most: `reach_P` of the cell, or of the item
    itself where there are no cells.

    All of them become known: the search for the nearest need not know of chances.
    """
    slots = np.empty(table.neighbors_VK.shape[1] * len(recent_R), np.int64)
    count = add_chances(table, recent_R, known, standing_V, slots)
    items_S, chances_S = known
    items_F, weight = np.empty(count, np.int64), table.weight
    raised_F, most_F = np.empty(count, np.float32), np.empty(count, np.float32)
    for place in range(count):
        item = items_S[slots[place]]
        items_F[place], raised_F[place] = item, weight * chances_S[slots[place]]
        most_F[place] = reach_P[cells_V[item] if len(cells_V) else item]
    return Followers(items_F, raised_F, most_F)


@compiled
def with_followers(table: Table, found: Followers, near: Near) -> int:
    """Begins a list with the best followers; how many there are."""
    items_F, raised_F, most_F = found
    vectors_VD, user_D, _, _, items_n, keys_n = near
    temperature = table.temperature
    for place in range(len(items_F)):
        most_F[place] = exp(most_F[place] / temperature) + raised_F[place]
    count, worst = 0, np.float32(0.0)
    for place in range(len(items_F)):
        if most_F[place] < worst:
            continue
        cosine = dot(user_D, vectors_VD[items_F[place]])
        odds = exp(cosine / temperature) + raised_F[place]
        if odds < worst:
            continue
        # Beyond what `exp` can say, the cosine is what counts.
        key = max(temperature * np.log(odds), cosine)
        count = offer(items_n, keys_n, count, items_F[place], key)
        if count == len(items_n):
            worst = ROUNDING * exp(keys_n[0] / temperature)
    return count


@compiled
def multiply(users_BD: Floats, vectors_VD: Floats, cosines_4V: Floats) -> None:
    """The cosines of 1 to 4 users with all items; four at a time share the reading of the vectors.

    Fewer are filled up with the last one: a product is rounded alike whoever else is multiplied.
    """
    V, D = vectors_VD.shape
    last = len(users_BD) - 1
    user0, user1 = users_BD[0], users_BD[min(1, last)]
    user2, user3 = users_BD[min(2, last)], users_BD[min(3, last)]
    for item in range(V):
        vector = vectors_VD[item]
        sum0, sum1 = np.float32(0.0), np.float32(0.0)
        sum2, sum3 = np.float32(0.0), np.float32(0.0)
        for place in range(D):
            sum0 += vector[place] * user0[place]
            sum1 += vector[place] * user1[place]
            sum2 += vector[place] * user2[place]
            sum3 += vector[place] * user3[place]
        cosines_4V[0, item], cosines_4V[1, item] = sum0, sum1
        cosines_4V[2, item], cosines_4V[3, item] = sum2, sum3


@compiled
def add_chances(
    table: Table, recent_R: Ints, known: Known, standing_V: NDArray[np.int8], slots: Ints
) -> int:
    """How likely each item follows the recent ones; `slots` gets where they are, once each, but for those
    that are left out or gone. Their number. Recent items beyond the table count as none."""
    items_S, chances_S = known
    neighbors_VK, chances_VK, shares_R = table.neighbors_VK, table.chances_VK, table.shares_R
    total = np.float32(0.0)
    for age in range(len(recent_R)):
        if 0 < recent_R[age] < len(neighbors_VK):
            total += shares_R[age]
    count = 0
    for age in range(len(recent_R)):
        item = recent_R[age]
        if item == 0 or item >= len(neighbors_VK):
            continue
        share = shares_R[age] / total
        for place in range(neighbors_VK.shape[1]):
            chance = chances_VK[item, place] * share
            if chance <= 0:
                break
            follower = neighbors_VK[item, place]
            slot = slot_of(items_S, follower)
            if items_S[slot] == 0:
                items_S[slot] = follower
                if standing_V[follower] == GONE:
                    chances_S[slot] = LEFT_OUT
                else:
                    slots[count] = slot
                    count += 1
            if chances_S[slot] != LEFT_OUT:
                chances_S[slot] += chance
    return count


@compiled
def with_fresh(fresh_N: NDArray[np.int32], near: Near, count: int) -> int:
    """The fresh items join the `count` of the list where they are near enough; how many there are then."""
    vectors_VD, user_D, standing_V, known_S, items_n, keys_n = near
    worst = keys_n[0] if count == len(items_n) else np.float32(-np.inf)
    for item in fresh_N:
        cosine = dot(user_D, vectors_VD[item])
        if cosine < worst or standing_V[item] == GONE or known_S[slot_of(known_S, item)] != 0:
            continue
        count = offer(items_n, keys_n, count, item, cosine)
        if count == len(items_n):
            worst = keys_n[0]
    return count


@compiled
def nearest(cosines_V: Floats, near: Near, count: int) -> int:
    """The nearest items that are not known join the `count` of the list; how many there are then."""
    _, _, standing_V, known_S, items_n, keys_n = near
    worst = keys_n[0] if count == len(items_n) else np.float32(-np.inf)
    for item in range(1, len(cosines_V)):
        if cosines_V[item] < worst or standing_V[item] != 0:
            continue
        if known_S[slot_of(known_S, item)] != 0:
            continue
        count = offer(items_n, keys_n, count, item, cosines_V[item])
        if count == len(items_n):
            worst = keys_n[0]
    return count

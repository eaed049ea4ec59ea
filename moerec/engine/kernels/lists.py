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
from moerec.engine.kernels.nearby import Index, Near, dot, largest, nearby

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


class Scratch(NamedTuple):
    """Reused from list to list: `marks_V` holds the number of the list that leaves an item out, or has
    looked at it already; `chances_V` is zero between two lists."""

    marks_V: Ints
    chances_V: Floats


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
    asked: Asked,
    scratch: Scratch,
    first_number: int,
    items_Bn: Ints,
    scores_Bn: Floats,
) -> None:
    """Each list, best first, of equals the lower index first; places beyond a list's end are item 0.

    Lists are numbered from `first_number`, numbers never used with this `scratch` before.
    """
    searches = len(index.centroids_CD) > 0
    compared_PD = index.centroids_CD if searches else vectors_VD
    reach_4P = np.empty((4, len(compared_PD)), np.float32)
    highest = np.empty(largest(index.ends_C), np.float32)
    for row in range(len(items_Bn)):
        if row % 4 == 0:
            multiply(asked.users_BD[row : row + 4], compared_PD, reach_4P)
        size, number, reach_P = asked.sizes_B[row], first_number + row, reach_4P[row % 4]
        for cell in range(len(index.spreads_C)):
            reach_P[cell] += index.spreads_C[cell]
        for place in range(asked.ends_B[row - 1] if row else 0, asked.ends_B[row]):
            scratch.marks_V[asked.excluded_N[place]] = number
        user_D, items_n, keys_n = asked.users_BD[row], items_Bn[row, :size], scores_Bn[row, :size]
        near = Near(vectors_VD, user_D, scratch.marks_V, number, items_n, keys_n)
        count = 0
        if table.weight > 0:
            chances = scratch.chances_V
            found = followers(table, asked.recent_BR[row], chances, near, reach_P, index.cells_V)
            count = with_followers(table, found, near)
        count = (
            nearby(index, near, count, reach_P, highest)
            if searches
            else nearest(reach_P, near, count)
        )
        unheap(items_n, keys_n, count)


@compiled
def followers(
    table: Table,
    recent_R: Ints,
    chances_V: Floats,
    near: Near,
    reach_P: Floats,
    cells_V: NDArray[np.int16],
) -> Followers:
    """The followers that are not left out, with their cosines at most: `reach_P` of the cell, or of the item
    itself where there are no cells.

    All of them are marked: the search for the nearest need not know of chances.
    """
    marks_V, number, weight = near.marks_V, near.list_number, table.weight
    items = np.empty(table.neighbors_VK.shape[1] * len(recent_R), np.int64)
    raised, most = np.empty(len(items), np.float32), np.empty(len(items), np.float32)
    left = 0
    for place in range(add_chances(table, recent_R, chances_V, items)):
        item = items[place]
        chance = chances_V[item]
        chances_V[item] = np.float32(0.0)
        if marks_V[item] != number:
            marks_V[item] = number
            items[left], raised[left] = item, weight * chance
            most[left] = reach_P[cells_V[item] if len(cells_V) else item]
            left += 1
    return Followers(items[:left], raised[:left], most[:left])


@compiled
def with_followers(table: Table, found: Followers, near: Near) -> int:
    """Begins a list with the best followers; how many there are."""
    items_F, raised_F, most_F = found
    vectors_VD, user_D, _, _, items_n, keys_n = near
    temperature = table.temperature
    for place in range(len(items_F)):
        most_F[place] = exp(most_F[place] / temperature) + raised_F[place]
    likeliest_first(found, len(items_n))
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
def likeliest_first(found: Followers, n: int) -> None:
    """Brings the n likeliest to the front: what the others are held against is high early then."""
    items_F, raised_F, most_F = found
    places = np.empty(min(n, len(items_F)), np.int64)
    least = np.empty(len(places), np.float32)
    count = 0
    for place in range(len(items_F)):
        if count < len(least) or raised_F[place] > least[0]:
            count = offer(places, least, count, place, raised_F[place])
    places.sort()
    for front in range(count):
        # Places grow, so that none of those to come has been moved.
        place = places[front]
        items_F[front], items_F[place] = items_F[place], items_F[front]
        raised_F[front], raised_F[place] = raised_F[place], raised_F[front]
        most_F[front], most_F[place] = most_F[place], most_F[front]


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
def add_chances(table: Table, recent_R: Ints, chances_V: Floats, touched: Ints) -> int:
    """chances += how likely each item follows the recent ones; `touched` gets the items, once each."""
    neighbors_VK, chances_VK, shares_R = table.neighbors_VK, table.chances_VK, table.shares_R
    total = np.float32(0.0)
    for age in range(len(recent_R)):
        if recent_R[age] != 0:
            total += shares_R[age]
    count = 0
    for age in range(len(recent_R)):
        item = recent_R[age]
        if item == 0:
            continue
        share = shares_R[age] / total
        for place in range(neighbors_VK.shape[1]):
            chance = chances_VK[item, place] * share
            if chance <= 0:
                break
            follower = neighbors_VK[item, place]
            if chances_V[follower] == 0:
                touched[count] = follower
                count += 1
            chances_V[follower] += chance
    return count


@compiled
def nearest(cosines_V: Floats, near: Near, count: int) -> int:
    """The nearest items that are not marked join the `count` of the list; how many there are then."""
    _, _, marks_V, list_number, items_n, keys_n = near
    worst = keys_n[0] if count == len(items_n) else np.float32(-np.inf)
    for item in range(1, len(cosines_V)):
        if cosines_V[item] < worst or marks_V[item] == list_number:
            continue
        count = offer(items_n, keys_n, count, item, cosines_V[item])
        if count == len(items_n):
            worst = keys_n[0]
    return count

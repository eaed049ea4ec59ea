"""The best items of a user: the nearest vectors, raised by what usually follows the last items.

Letters: B users, V items, D width, K neighbours of an item, R last items of a history, n places of a list.

The score of an item is temperature * log(odds), odds = exp(cosine / temperature) + weight * chance (see
`moerec.models.transitions`). Who is nobody's neighbour keeps its cosine, so the best items are among the
nearest n and the neighbours; of these, one that cannot reach the list even with the cosine of the last of
the nearest is not looked at.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled, exp
from moerec.engine.kernels.heap import offer, unheap
from moerec.engine.kernels.nearby import Index, Near, dot, nearby


class Table(NamedTuple):
    """`moerec.models.transitions.Transitions` as arrays; `shares_R` is what each of the last items counts."""

    neighbors_VK: NDArray[np.int32]
    chances_VK: Floats
    shares_R: Floats
    weight: np.float32
    temperature: np.float32


class Asked(NamedTuple):
    """B lists: `sizes_B` places each, at most V, without the items `excluded_N[ends_B[b - 1]:ends_B[b]]`."""

    users_BD: Floats
    recent_BR: Ints
    excluded_N: Ints
    ends_B: Ints
    sizes_B: Ints


class Scratch(NamedTuple):
    """Reused from list to list: `marks_V` holds the number of the list that leaves an item out, or has it
    already; `chances_V` is zero between two lists."""

    marks_V: Ints
    chances_V: Floats


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
    cosines_4V = np.empty((4, 0 if searches else len(vectors_VD)), np.float32)
    cosines_4C = np.empty((4, len(index.centroids_CD)), np.float32)
    for row in range(len(items_Bn)):
        if row % 4 == 0 and searches:
            multiply(asked.users_BD[row : row + 4], index.centroids_CD, cosines_4C)
        elif row % 4 == 0:
            multiply(asked.users_BD[row : row + 4], vectors_VD, cosines_4V)
        size, number = asked.sizes_B[row], first_number + row
        for place in range(asked.ends_B[row - 1] if row else 0, asked.ends_B[row]):
            scratch.marks_V[asked.excluded_N[place]] = number
        near = Near(
            vectors_VD,
            asked.users_BD[row],
            scratch.marks_V,
            number,
            items_Bn[row, :size],
            scores_Bn[row, :size],
        )
        count = 0
        if table.weight > 0:
            count = followers(table, asked.recent_BR[row], scratch.chances_V, near)
        if searches:
            count = nearby(index, near, count, cosines_4C[row % 4])
        else:
            count = nearest(cosines_4V[row % 4], near, count)
        unheap(near.items_n, near.keys_n, count)


@compiled
def followers(table: Table, recent_R: Ints, chances_V: Floats, near: Near) -> int:
    """Begins a list with the best of what follows the recent items; how many there are.

    All of them are marked: the search that follows need not know of chances.
    """
    touched = np.empty(table.neighbors_VK.shape[1] * len(recent_R), np.int64)
    odds = np.empty(len(touched), np.float32)
    found = add_chances(table, recent_R, chances_V, touched)
    left = 0
    for place in range(found):
        item = touched[place]
        chance = chances_V[item]
        chances_V[item] = np.float32(0.0)
        if near.marks_V[item] != near.list_number:
            near.marks_V[item] = near.list_number
            touched[left], odds[left] = item, table.weight * chance
            left += 1
    for place in range(left):
        cosine = dot(near.user_D, near.vectors_VD[touched[place]])
        odds[place] += exp(cosine / table.temperature)
    best_n = np.empty(min(len(near.items_n), left), np.int64)
    odds_n = np.empty(len(best_n), np.float32)
    count = 0
    for place in range(left):
        if count < len(best_n) or odds[place] >= odds_n[0]:
            count = offer(best_n, odds_n, count, touched[place], odds[place])
    for place in range(count):
        key = table.temperature * np.log(odds_n[place])
        offer(near.items_n, near.keys_n, place, best_n[place], key)
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
def add_chances(table: Table, recent_R: Ints, chances_V: Floats, touched: Ints) -> int:
    """chances += how likely each item follows the recent ones; `touched` gets the items, once each."""
    total = np.float32(0.0)
    for age in range(len(recent_R)):
        if recent_R[age] != 0:
            total += table.shares_R[age]
    count = 0
    for age in range(len(recent_R)):
        item = recent_R[age]
        if item == 0:
            continue
        share = table.shares_R[age] / total
        for place in range(table.neighbors_VK.shape[1]):
            chance = table.chances_VK[item, place] * share
            if chance > 0:
                follower = table.neighbors_VK[item, place]
                if chances_V[follower] == 0:
                    touched[count] = follower
                    count += 1
                chances_V[follower] += chance
    return count


@compiled
def nearest(cosines_V: Floats, near: Near, count: int) -> int:
    """The nearest items that are not marked join the `count` of the list; how many there are then."""
    worst = near.keys_n[0] if count == len(near.items_n) else np.float32(-np.inf)
    for item in range(1, len(cosines_V)):
        if cosines_V[item] < worst or near.marks_V[item] == near.list_number:
            continue
        count = offer(near.items_n, near.keys_n, count, item, cosines_V[item])
        if count == len(near.items_n):
            worst = near.keys_n[0]
    return count

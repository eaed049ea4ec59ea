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
    near_n, cosines_n = (
        np.empty(items_Bn.shape[1], np.int64),
        np.empty(items_Bn.shape[1], np.float32),
    )
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
        user_D = asked.users_BD[row]
        items, keys = near_n[:size], cosines_n[:size]
        if searches:
            search = Near(vectors_VD, user_D, scratch.marks_V, number, items, keys)
            near = nearby(index, search, cosines_4C[row % 4])
        else:
            near = nearest(cosines_4V[row % 4], scratch.marks_V, number, items, keys)
        count = with_followers(
            table,
            asked.recent_BR[row],
            scratch,
            number,
            vectors_VD,
            user_D,
            near,
            items,
            keys,
            items_Bn[row, :size],
            scores_Bn[row, :size],
        )
        unheap(items_Bn[row, :size], scores_Bn[row, :size], count)
        if table.weight > 0:
            for place in range(count):
                scores_Bn[row, place] = table.temperature * np.log(scores_Bn[row, place])


@compiled
def with_followers(
    table: Table,
    recent_R: Ints,
    scratch: Scratch,
    list_number: int,
    vectors_VD: Floats,
    user_D: Floats,
    near: int,
    near_n: Ints,
    cosines_n: Floats,
    items_n: Ints,
    keys_n: Floats,
) -> int:
    """The best of the `near` nearest and of what follows the recent items, as a heap; how many there are."""
    touched = np.empty(table.neighbors_VK.shape[1] * len(recent_R), np.int64)
    followers = 0
    if table.weight > 0:
        followers = add_chances(table, recent_R, scratch.chances_V, touched)
    count = 0
    for place in range(near):
        item = near_n[place]
        scratch.marks_V[item] = list_number
        key = raised(table, cosines_n[place], scratch.chances_V[item])
        count = offer(items_n, keys_n, count, item, key)
    # At best a follower is as near as the last of the nearest, but for what an index missed. That list is
    # full, or had them all.
    nearest_odds = raised(table, cosines_n[0], np.float32(0.0))
    most_likely_first(touched, followers, scratch.chances_V, len(items_n))
    for place in range(followers):
        item = touched[place]
        chance = scratch.chances_V[item]
        scratch.chances_V[item] = np.float32(0.0)
        if (
            nearest_odds + table.weight * chance >= keys_n[0]
            and scratch.marks_V[item] != list_number
        ):
            key = raised(table, dot(user_D, vectors_VD[item]), chance)
            count = offer(items_n, keys_n, count, item, key)
    return count


@compiled
def most_likely_first(touched: Ints, followers: int, chances_V: Floats, n: int) -> None:
    """Brings the n likeliest followers to the front: what the others are held against is high early then."""
    worst = np.empty(min(n, followers), np.float32)
    places = np.empty(min(n, followers), np.int64)
    count = 0
    for place in range(followers):
        chance = chances_V[touched[place]]
        if count < len(worst) or chance > worst[0]:
            count = offer(places, worst, count, place, chance)
    places[:count].sort()
    for front in range(count):
        # Places grow, so that none of those to come has been moved.
        place = places[front]
        touched[front], touched[place] = touched[place], touched[front]


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
def raised(table: Table, cosine: np.float32, chance: np.float32) -> np.float32:
    """What a list is ordered by: the odds, or the cosine where the table has no weight."""
    if table.weight > 0:
        return exp(cosine / table.temperature) + table.weight * chance
    return cosine


@compiled
def nearest(
    cosines_V: Floats, marks_V: Ints, list_number: int, items_n: Ints, keys_n: Floats
) -> int:
    """The n nearest items that are not marked, as a heap; how many there are."""
    count, worst = 0, np.float32(-np.inf)
    for item in range(1, len(cosines_V)):
        if cosines_V[item] <= worst or marks_V[item] == list_number:
            continue
        count = offer(items_n, keys_n, count, item, cosines_V[item])
        if count == len(items_n):
            worst = keys_n[0]
    return count

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
from moerec.engine.kernels.nearby import Index, Near, dot, largest, nearby


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


class Followers(NamedTuple):
    """F items, what their chances add to the odds, and their cosines at most, which become odds."""

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
    cosines_4V = np.empty((4, 0 if searches else len(vectors_VD)), np.float32)
    reach_4C = np.empty((4, len(index.centroids_CD)), np.float32)
    highest = np.empty(largest(index.ends_C), np.float32)
    for row in range(len(items_Bn)):
        if row % 4 == 0 and searches:
            multiply(asked.users_BD[row : row + 4], index.centroids_CD, reach_4C)
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
        cosines_V, reach_C, count = cosines_4V[row % 4], reach_4C[row % 4], 0
        for cell in range(len(reach_C)):
            reach_C[cell] += index.spreads_C[cell]
        if table.weight > 0:
            unread = followers(table, asked.recent_BR[row], scratch.chances_V, near)
            if searches:
                for place in range(len(unread.items_F)):
                    unread.most_F[place] = reach_C[index.cells_V[unread.items_F[place]]]
            else:
                for place in range(len(unread.items_F)):
                    unread.most_F[place] = cosines_V[unread.items_F[place]]
            count = with_followers(table, unread, near)
        if searches:
            count = nearby(index, near, count, reach_C, highest)
        else:
            count = nearest(cosines_V, near, count)
        unheap(near.items_n, near.keys_n, count)


@compiled
def followers(table: Table, recent_R: Ints, chances_V: Floats, near: Near) -> Followers:
    """What follows the recent items and may be in the list. All of it is marked: the search for the nearest
    need not know of chances."""
    touched = np.empty(table.neighbors_VK.shape[1] * len(recent_R), np.int64)
    raised = np.empty(len(touched), np.float32)
    left = 0
    for place in range(add_chances(table, recent_R, chances_V, touched)):
        item = touched[place]
        chance = chances_V[item]
        chances_V[item] = np.float32(0.0)
        if near.marks_V[item] != near.list_number:
            near.marks_V[item] = near.list_number
            touched[left], raised[left] = item, table.weight * chance
            left += 1
    return Followers(touched[:left], raised[:left], np.empty(left, np.float32))


@compiled
def with_followers(table: Table, unread: Followers, near: Near) -> int:
    """Begins a list with the best followers; how many there are."""
    items_F, raised_F, most_F = unread
    for place in range(len(items_F)):
        most_F[place] = exp(most_F[place] / table.temperature) + raised_F[place]
    highest_first(unread, len(near.items_n))
    count, worst = 0, np.float32(-np.inf)
    for place in range(len(items_F)):
        if most_F[place] < worst:
            continue
        cosine = dot(near.user_D, near.vectors_VD[items_F[place]])
        odds = exp(cosine / table.temperature) + raised_F[place]
        if odds < worst:
            continue
        key = table.temperature * np.log(odds)
        count = offer(near.items_n, near.keys_n, count, items_F[place], key)
        if count == len(near.items_n):
            worst = np.float32(0.99999) * exp(near.keys_n[0] / table.temperature)
    return count


@compiled
def highest_first(unread: Followers, n: int) -> None:
    """Brings the n to the front that may come highest: what the others are held against is high early."""
    items_F, raised_F, most_F = unread
    places = np.empty(min(n, len(items_F)), np.int64)
    worst = np.empty(len(places), np.float32)
    count = 0
    for place in range(len(items_F)):
        if count < len(worst) or most_F[place] > worst[0]:
            count = offer(places, worst, count, place, most_F[place])
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
            if chance <= 0:
                break
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

"""Where to look for a user's items in a large catalogue: in the lists of the users who are most like them.

Users' vectors lie elsewhere than items' do, so that clusters of items near a user's vector hold too little of
the user's list. Clusters of users do better: each has the list of the items nearest to its centroid, and a
user looks through the lists of the few clusters nearby. How long the lists must be is measured when the
index is made, on users who took no part in it; where they would have to be too long, all items are read.

Letters: V items, D width, U users, C clusters, N places of a cluster's list.
"""

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from moerec.engine.kernels.nearby import Index

LEAST_ITEMS: Final = 20_000
"""Below, reading all of them is faster."""

CLUSTERS: Final = 1_024

PROBES: Final = (1, 2, 4, 8)
"""How many clusters may be looked through."""

ITEM_COST: Final = 4.0
"""What comparing an item costs, beside reading its place in a list, where it may stand again."""

USERS_A_CLUSTER: Final = 3
"""At least so many, or there are fewer clusters."""

DEPTH: Final = 50
"""So many of the nearest items the lists are made for: those of a list, and those that it leaves out."""

RECALL: Final = 0.995
"""Of the exact `DEPTH` nearest; what the lists are made long enough for."""

LONGEST: Final = 1 / 8
"""Of the catalogue in a cluster's list, at most."""

MOST_PLACES: Final = 8_192
"""In a cluster's list, at most: a larger index would take long to make, and longer to read."""

CHECKED: Final = 512
ROUNDS: Final = 8
AT_ONCE: Final = 64


def no_index(dim: int) -> Index:
    """All items are read."""
    return Index(
        np.zeros((0, dim), np.float32),
        np.zeros((0, 0), np.int32),
        np.zeros((0, dim), np.int8),
        0,
        0,
    )


@torch.inference_mode()
def make_index(items_VD: Tensor, users_UD: NDArray[np.floating[Any]], seed: int = 0) -> Index:
    """An index of `items_VD` (row 0 is padding) for users like `users_UD`, vectors of length 1.

    `no_index` for a small catalogue, few users, or where too much of the catalogue would have to be read.
    """
    order = np.random.default_rng(seed).permutation(len(users_UD))
    users = torch.from_numpy(users_UD[order].astype(np.float32))
    checked, learned = users[:CHECKED], users[CHECKED:]
    clusters = min(CLUSTERS, len(learned) // USERS_A_CLUSTER)
    if len(items_VD) <= LEAST_ITEMS or clusters < max(PROBES):
        return no_index(items_VD.shape[1])
    centroids = _centroids(learned, clusters)
    lists = _lists(items_VD, centroids, min(int(LONGEST * len(items_VD)), MOST_PLACES))
    chosen = _cheapest(items_VD, centroids, lists, checked)
    if chosen is None:
        return no_index(items_VD.shape[1])
    probes, length = chosen
    kept = np.ascontiguousarray(lists[:, :length].numpy().astype(np.int32))
    return Index(np.ascontiguousarray(centroids.numpy()), kept, codes(items_VD), probes, DEPTH)


def codes(items_VD: Tensor) -> NDArray[np.int8]:
    """The vectors in steps of one size, the largest coordinate / 127."""
    step = items_VD.abs().max() / 127
    return (items_VD / step).round().to(torch.int8).numpy()


def _centroids(users_UD: Tensor, clusters: int) -> Tensor:
    """Spherical k-means, [C, D] of length 1; it begins with the first users."""
    centroids_CD = users_UD[:clusters].clone()
    for _ in range(ROUNDS):
        nearest_U = (users_UD @ centroids_CD.T).argmax(1)
        sums_CD = torch.zeros_like(centroids_CD).index_add_(0, nearest_U, users_UD)
        # A cluster that lost everybody stays where it is.
        empty_C1 = (torch.bincount(nearest_U, minlength=clusters) == 0)[:, None]
        centroids_CD = torch.where(empty_C1, centroids_CD, normalize(sums_CD, dim=1))
    return centroids_CD


def _lists(items_VD: Tensor, centroids_CD: Tensor, length: int) -> Tensor:
    """The items nearest to each centroid, nearest first, int32 [C, N]."""
    parts = []
    for some_cD in torch.split(centroids_CD, AT_ONCE):
        cosines_cV = some_cD @ items_VD[1:].T
        parts.append(cosines_cV.topk(length, dim=1).indices.to(torch.int32) + 1)
    return torch.cat(parts)


def _cheapest(
    items_VD: Tensor, centroids_CD: Tensor, lists_CN: Tensor, users_UD: Tensor
) -> tuple[int, int] | None:
    """How many clusters, and how much of their lists, give `RECALL` to the users at the least cost.

    None if nothing does, or nothing at less than reading everything.
    """
    wanted_Un = torch.cat(
        [
            (some_uD @ items_VD[1:].T).topk(DEPTH, dim=1).indices + 1
            for some_uD in torch.split(users_UD, AT_ONCE)
        ]
    )
    probed_UP = (users_UD @ centroids_CD.T).topk(max(PROBES), dim=1).indices
    place_V = torch.full((len(items_VD),), lists_CN.shape[1], dtype=torch.int64)
    ranks_UPn = torch.stack(
        [
            _ranks(lists_CN[probed], wanted, place_V)
            for probed, wanted in zip(probed_UP, wanted_Un, strict=True)
        ]
    )
    best, choice = float(len(items_VD)), None
    for probes in PROBES:
        needed = ranks_UPn[:, :probes].amin(1).flatten().sort().values
        length = int(needed[int(RECALL * len(needed))]) + 1
        if length > lists_CN.shape[1]:
            continue
        some = [lists_CN[probed[:probes], :length].numpy() for probed in probed_UP[:AT_ONCE]]
        items = sum(len(np.unique(each)) for each in some) / len(some)
        cost = (probes * length + ITEM_COST * items) / (1 + ITEM_COST)
        if cost < best:
            best, choice = cost, (probes, length)
    return choice


def _ranks(lists_PN: Tensor, wanted_n: Tensor, place_V: Tensor) -> Tensor:
    """At which place of each list each of the wanted items stands; beyond its end where it does not.

    `place_V` is one beyond the end for each item, before and after.
    """
    beyond, order = lists_PN.shape[1], torch.arange(lists_PN.shape[1])
    ranks = []
    for list_N in lists_PN.long():
        place_V[list_N] = order
        ranks.append(place_V[wanted_n])
        place_V[list_N] = beyond
    return torch.stack(ranks)

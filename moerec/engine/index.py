"""Which items of a large catalogue a list may come from: the catalogue in cells, and how far each reaches.

Items that lie near each other are a cell. A list reads the cells whose centroid, with what an item of the
cell is nearer than it at most, comes up to the last place of the list so far: a user with clear tastes
reads a few, one who could like anything reads many. How far a cell reaches is a multiple of the spread of
its items as users see them; the multiple is measured when the index is made, on users who took no part in
it. Where users would have to read too much, there are no cells and all items are read.

Letters: V items, D width, U users, C cells.
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

ITEMS_A_CELL: Final = 100
MOST_CELLS: Final = 4_096

LEARNED_A_CELL: Final = 20
"""So many items on the mean are enough to place a cell's centroid."""

LENGTH: Final = 10
RECALL: Final = 0.99
"""Of the exact nearest `LENGTH`, with nothing left out: what the cells reach far enough for. Longer lists,
and those that leave out what is near, are held against less near items, so that they read more."""

HEAD: Final = 2
"""Of the coordinates of a vector, one in so many is in its head."""

FOUND: Final = 0.999
"""Of the items that belong in a list and are read, so many are to come through the comparison by heads."""

MULTIPLES: Final = tuple(1 + quarter / 4 for quarter in range(33))

ITEM_COST: Final = 2.0
"""What comparing an item in a cell costs, where reading all of them costs 1 each."""

CHECKED: Final = 512
ROUNDS: Final = 4
AT_ONCE: Final = 8_192


def no_index(dim: int) -> Index:
    """All items are read."""
    return Index(
        np.zeros((0, dim), np.float32),
        np.zeros(0, np.float32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.int16),
        np.zeros((dim, 0), np.float32),
        np.zeros(0, np.int8),
        np.zeros(0, np.float32),
        np.float32(1.0),
    )


@torch.inference_mode()
def make_index(items_VD: Tensor, users_UD: NDArray[np.floating[Any]], seed: int = 0) -> Index:
    """An index of `items_VD` (row 0 is padding) for users like `users_UD`, vectors of length 1.

    `no_index` for a small catalogue, few users, or where too much of the catalogue would have to be read.
    """
    order = np.random.default_rng(seed).permutation(len(users_UD))
    users = torch.from_numpy(users_UD[order].astype(np.float32))
    checked, learned = users[:CHECKED], users[CHECKED:]
    if len(items_VD) <= LEAST_ITEMS or not len(learned) or items_VD.shape[1] < 4 * HEAD:
        return no_index(items_VD.shape[1])
    vectors_VD = items_VD[1:].float().contiguous()
    cell_V = _nearest(vectors_VD, _centroids(vectors_VD, seed))
    cells_C, cell_V = torch.unique(cell_V, return_inverse=True)
    sizes_C = torch.bincount(cell_V, minlength=len(cells_C))
    means_CD = _sums(vectors_VD, cell_V, sizes_C) / sizes_C[:, None]
    deviations_C = _deviations(vectors_VD, means_CD, cell_V, sizes_C, learned)
    last_U, wanted_Un = _best(vectors_VD, checked)
    reach_UC = checked @ means_CD.T - last_U[:, None]
    multiple = _multiple(reach_UC, deviations_C, cell_V[wanted_Un], sizes_C)
    if multiple is None:
        return no_index(items_VD.shape[1])
    order_V = cell_V.argsort(stable=True)
    axes_DH = _axes(learned)
    heads_VH = vectors_VD[order_V] @ axes_DH
    step = heads_VH.abs().max().item() / 127
    codes_VH = (heads_VH / step).round().to(torch.int8)
    rests_V = _across(vectors_VD[order_V], heads_VH)
    share = _share(vectors_VD[wanted_Un], axes_DH, checked)
    return Index(
        means_CD.numpy(),
        (multiple * deviations_C).numpy(),
        sizes_C.cumsum(0).numpy(),
        (order_V + 1).to(torch.int32).numpy(),
        torch.cat([cell_V[:1], cell_V]).to(torch.int16).numpy(),
        axes_DH.numpy(),
        torch.cat([each.T.flatten() for each in torch.split(codes_VH, sizes_C.tolist())]).numpy(),
        (share * rests_V).numpy(),
        np.float32(step),
    )


def _across(vectors_ID: Tensor, heads_IH: Tensor) -> Tensor:
    """How long the vectors are across the axes that their heads lie along."""
    return (vectors_ID.square().sum(1) - heads_IH.square().sum(1)).clamp(min=0).sqrt()


def _share(wanted_UnD: Tensor, axes_DH: Tensor, users_UD: Tensor) -> float:
    """How much of what the rests of a user and an item could make together (Cauchy-Schwarz) they make at
    most, for nearly all of the items nearest to the users."""
    heads_UH = users_UD @ axes_DH
    heads_UnH = wanted_UnD @ axes_DH
    both_Un = (wanted_UnD @ users_UD[:, :, None]).squeeze(2)
    rest_Un = both_Un - (heads_UnH @ heads_UH[:, :, None]).squeeze(2)
    most_Un = _across(users_UD, heads_UH)[:, None] * (
        (wanted_UnD.square().sum(2) - heads_UnH.square().sum(2)).clamp(min=0).sqrt()
    )
    shares = (rest_Un / most_Un.clamp(min=1e-9)).flatten().sort().values
    return min(max(float(shares[int(FOUND * len(shares))]), 0.0), 1.0)


def _axes(users_UD: Tensor) -> Tensor:
    """The directions along which users are longest, half of all, [D, H]."""
    dim = users_UD.shape[1]
    shortest_first: Tensor = torch.linalg.eigh(users_UD.T @ users_UD).eigenvectors
    return shortest_first.flip(1)[:, : dim // HEAD // 4 * 4].contiguous()


def _centroids(vectors_VD: Tensor, seed: int) -> Tensor:
    """Spherical k-means of as many items as it takes, [C, D] of length 1."""
    cells = min(len(vectors_VD) // ITEMS_A_CELL, MOST_CELLS)
    drawn = torch.randperm(len(vectors_VD), generator=torch.Generator().manual_seed(seed))
    some_ID = vectors_VD[drawn[: cells * LEARNED_A_CELL]]
    centroids_CD = normalize(some_ID[:cells], dim=1)
    for _ in range(ROUNDS):
        nearest_I = _nearest(some_ID, centroids_CD)
        sizes_C = torch.bincount(nearest_I, minlength=cells)
        sums_CD = _sums(some_ID, nearest_I, sizes_C)
        # A cell that lost everything stays where it is.
        centroids_CD = torch.where(sizes_C[:, None] == 0, centroids_CD, normalize(sums_CD, dim=1))
    return centroids_CD


def _nearest(vectors_ID: Tensor, centroids_CD: Tensor) -> Tensor:
    parts = torch.split(vectors_ID, AT_ONCE)
    return torch.cat([(part_iD @ centroids_CD.T).argmax(1) for part_iD in parts])


def _sums(vectors_ID: Tensor, cell_I: Tensor, sizes_C: Tensor) -> Tensor:
    sums_CD = vectors_ID.new_zeros(len(sizes_C), vectors_ID.shape[1])
    return sums_CD.index_add_(0, cell_I, vectors_ID)


def _deviations(
    vectors_VD: Tensor, means_CD: Tensor, cell_V: Tensor, sizes_C: Tensor, users_UD: Tensor
) -> Tensor:
    """How far the cosines of a cell's items lie from that of its mean: the root mean square over users."""
    root_DD = torch.linalg.cholesky(
        users_UD.T @ users_UD / len(users_UD) + 1e-6 * torch.eye(users_UD.shape[1])
    )
    squares_V = torch.cat(
        [
            ((part_iD - means_CD[cell_i]) @ root_DD).square().sum(1)
            for part_iD, cell_i in zip(
                torch.split(vectors_VD, AT_ONCE), torch.split(cell_V, AT_ONCE), strict=True
            )
        ]
    )
    sums_C = torch.zeros(len(sizes_C)).index_add_(0, cell_V, squares_V)
    return (sums_C / sizes_C).sqrt()


def _multiple(
    reach_UC: Tensor, deviations_C: Tensor, cells_Un: Tensor, sizes_C: Tensor
) -> float | None:
    """The least multiple of the deviations that gives `RECALL` to the users.

    `reach_UC` is how much nearer the centroids are than the last item wanted, `cells_Un` where the wanted
    ones lie. None if no multiple does, or if reading everything costs less.
    """
    for multiple in MULTIPLES:
        read_UC = reach_UC + multiple * deviations_C >= 0
        if read_UC.gather(1, cells_Un).float().mean() >= RECALL:
            items = (read_UC.float() @ sizes_C.float()).mean().item()
            cost = len(sizes_C) + ITEM_COST * items
            return multiple if cost < sizes_C.sum() else None
    return None


def _best(vectors_VD: Tensor, users_UD: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of the last of the `LENGTH` items nearest to each user [U], and their places [U, n]."""
    best = [(part_uD @ vectors_VD.T).topk(LENGTH, dim=1) for part_uD in torch.split(users_UD, 64)]
    return (
        torch.cat([each.values[:, -1] for each in best]),
        torch.cat([each.indices for each in best]),
    )

"""Which items of a large catalogue a list may come from: the catalogue in cells, and how far each reaches.

Items that lie near each other are a cell. A list reads the cells whose centroid, with what an item of the
cell is nearer than it at most, comes up to the last place of the list so far: a user with clear tastes
reads a few, one who could like anything reads many. How far a cell reaches is a multiple of the spread of
its items as users see them, measured when the index is made, on users who took no part in it: by their lists,
which the followers of their last items have filled before anything is searched, and by what is nearest to
them, for lists that followers do not fill. Where users would have to read too much, there are no cells and
all items are read.

Letters: V items, D width, U users, C cells, R last items of a history, n places of a list.
"""

from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from moerec.artifacts.bundle import UserSample
from moerec.engine.kernels.nearby import Index
from moerec.models.recommender import take_out
from moerec.models.transitions import Transitions

LEAST_ITEMS: Final = 20_000
"""Below, reading all of them is faster."""

ITEMS_A_CELL: Final = 100
MOST_CELLS: Final = 4_096

LEARNED_A_CELL: Final = 20
"""So many items on the mean are enough to place a cell's centroid."""

LENGTH: Final = 10
RECALL: Final = 0.995
"""Of the exact lists of `LENGTH` without the last items, on the mean: what the cells reach far enough for."""

RECALL_OF_NEAREST: Final = 0.99
"""The same of the exact nearest `LENGTH`, for lists that followers do not fill. Longer lists, and those that
leave out what is near, are held against less near items, so that they read more."""

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
SCORES_AT_ONCE: Final = 8_000_000


def no_index(dim: int) -> Index:
    """All items are read."""
    return Index(
        np.zeros((0, dim), np.float32),
        np.zeros(0, np.float32),
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
def make_index(
    items_VD: Tensor,
    sample: UserSample,
    transitions: Transitions,
    temperature: float,
    seed: int = 0,
) -> Index:
    """An index of `items_VD` (row 0 is padding) for users like those of the `sample`.

    `no_index` for a small catalogue, few users, or where too much of the catalogue would have to be read.
    """
    order = np.random.default_rng(seed).permutation(len(sample.vectors))
    users, recent = (torch.from_numpy(each[order]) for each in sample)
    checked, learned = users[:CHECKED].float(), users[CHECKED:].float()
    if len(items_VD) <= LEAST_ITEMS or not len(learned) or items_VD.shape[1] < 4 * HEAD:
        return no_index(items_VD.shape[1])
    vectors_VD = items_VD[1:].float().contiguous()
    cell_V = _nearest(vectors_VD, _centroids(vectors_VD, seed))
    cells_C, cell_V = torch.unique(cell_V, return_inverse=True)
    sizes_C = torch.bincount(cell_V, minlength=len(cells_C))
    means_CD = _sums(vectors_VD, cell_V, sizes_C) / sizes_C[:, None]
    deviations_C = _deviations(vectors_VD, means_CD, cell_V, sizes_C, learned)
    lists, nearest = _exact(items_VD.float(), checked, recent[:CHECKED], transitions, temperature)
    cosines_UC, cells = checked @ means_CD.T, _Cells(deviations_C, sizes_C, cell_V, temperature)
    multiple = _multiple(lists, cosines_UC, cells, RECALL)
    if multiple is None:
        return no_index(items_VD.shape[1])
    wide = _multiple(nearest, cosines_UC, cells, RECALL_OF_NEAREST) or np.inf
    order_V = cell_V.argsort(stable=True)
    axes_DH = _axes(learned)
    heads_VH = vectors_VD[order_V] @ axes_DH
    step = heads_VH.abs().max().item() / 127
    codes_VH = (heads_VH / step).round().to(torch.int8)
    rests_V = _across(vectors_VD[order_V], heads_VH)
    share = _share(items_VD.float()[nearest.items_Un], axes_DH, checked)
    return Index(
        means_CD.numpy(),
        (multiple * deviations_C).numpy(),
        (max(multiple, wide) * deviations_C.clamp(min=1e-9)).numpy(),
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


class _Lists(NamedTuple):
    """Lists of U users: the score of the last place; the items, and the logarithm of what the table adds to
    their odds (`moerec.models.transitions`)."""

    last_U: Tensor
    items_Un: Tensor
    raised_Un: Tensor


class _Cells(NamedTuple):
    """The cells as users see them: their deviations and sizes, and the cell of each item but the padding."""

    deviations_C: Tensor
    sizes_C: Tensor
    cell_V: Tensor
    temperature: float


def _multiple(lists: _Lists, cosines_UC: Tensor, cells: _Cells, recall: float) -> float | None:
    """The least multiple of the deviations that finds so much of the lists.

    `cosines_UC` is how near the centroids are. None if no multiple does, or if reading everything costs less.
    """
    deviations_C, sizes_C, cell_V, temperature = cells
    last_U1, cells_Un = lists.last_U[:, None], cell_V[lists.items_Un - 1]
    for multiple in MULTIPLES:
        reach_UC = cosines_UC + multiple * deviations_C
        reach_Un = _scores(reach_UC.gather(1, cells_Un), lists.raised_Un, temperature)
        if (reach_Un >= last_U1).float().mean() >= recall:
            items = ((reach_UC >= last_U1).float() @ sizes_C.float()).mean().item()
            cost = len(sizes_C) + ITEM_COST * items
            return multiple if cost < sizes_C.sum() else None
    return None


def _exact(
    items_VD: Tensor,
    users_UD: Tensor,
    recent_UR: Tensor,
    transitions: Transitions,
    temperature: float,
) -> tuple[_Lists, _Lists]:
    """The lists that reading everything gives, without the last items, and the items that are nearest."""
    rows = max(SCORES_AT_ONCE // len(items_VD), 1)
    lists, nearest = [], []
    parts = (torch.split(each, rows) for each in (users_UD, recent_UR))
    for users_uD, recent_uR in zip(*parts, strict=True):
        cosines_uV = users_uD @ items_VD.T
        cosines_uV[:, 0] = -torch.inf
        later = len(items_VD) - len(transitions.chances)
        raised_uV = pad(transitions.weight * transitions.chance(recent_uR), (0, later))
        scores_uV, follows = cosines_uV.clone(), raised_uV.nonzero(as_tuple=True)
        scores_uV[follows] = _scores(cosines_uV[follows], raised_uV[follows].log(), temperature)
        take_out(scores_uV, recent_uR.tolist())
        best, near = scores_uV.topk(LENGTH, dim=1), cosines_uV.topk(LENGTH, dim=1)
        raised_un = raised_uV.gather(1, best.indices).log()
        lists.append(_Lists(best.values[:, -1], best.indices, raised_un))
        nothing_un = torch.full_like(raised_un, -torch.inf)
        nearest.append(_Lists(near.values[:, -1], near.indices, nothing_un))
    return _joined(lists), _joined(nearest)


def _scores(cosines: Tensor, raised: Tensor, temperature: float) -> Tensor:
    """As `moerec.models.transitions.Transitions.mix`, at any temperature; `raised` is a logarithm."""
    return temperature * torch.logaddexp(cosines / temperature, raised)


def _joined(parts: list[_Lists]) -> _Lists:
    return _Lists(*map(torch.cat, zip(*parts, strict=True)))

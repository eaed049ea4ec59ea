"""The index of a large catalogue: it finds what a full search finds, and knows when not to exist."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from moerec.engine.index import LEAST_ITEMS, LENGTH, RECALL, make_index
from moerec.engine.kernels.nearby import Index

DIM = 16


def catalogue(items: int, users: int) -> tuple[Tensor, Tensor]:
    """Items in 200 groups; users somewhere else: between the groups that they like."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    groups = torch.randn(200, DIM)
    vectors = groups[torch.randint(200, (items,))] + 0.7 * torch.randn(items, DIM)
    liked = groups[torch.randint(200, (users, 2))].sum(1)
    shift = torch.randn(DIM)
    return (
        torch.cat([torch.zeros(1, DIM), normalize(vectors, dim=1)]),
        normalize(liked + shift + 0.5 * torch.randn(users, DIM), dim=1),
    )


def looked_at(made: Index, user: Tensor, last: float) -> NDArray[np.int32]:
    """The items of the cells that may hold one that is nearer than `last`."""
    reach = made.centroids_CD @ user.numpy() + made.spreads_C
    begins = np.concatenate([[0], made.ends_C[:-1]])
    read = [made.items_V[begins[c] : made.ends_C[c]] for c in np.flatnonzero(reach >= last)]
    return np.concatenate(read)


def test_users_who_were_not_there_find_what_they_would_find_everywhere() -> None:
    items, users = catalogue(LEAST_ITEMS + 5_000, 4_000)
    made = make_index(items, users[:3_500].numpy())
    assert len(made.centroids_CD) > 100
    found, read = 0.0, 0
    for user in users[3_500:]:
        best = (items[1:] @ user).topk(LENGTH)
        seen = looked_at(made, user, float(best.values[-1]))
        found += np.isin(best.indices.numpy() + 1, seen).mean()
        read += len(seen)
    assert found / 500 > RECALL - 0.01
    assert read / 500 < len(items) / 2


def test_each_item_is_in_one_cell_with_its_own_vector() -> None:
    items, users = catalogue(LEAST_ITEMS + 5_000, 1_500)
    made = make_index(items, users.numpy())
    assert np.array_equal(np.sort(made.items_V), np.arange(1, len(items)))
    assert made.ends_C[-1] == len(items) - 1
    assert (np.diff(made.ends_C) > 0).all()
    sizes = np.diff(made.ends_C, prepend=0)
    assert np.array_equal(made.cells_V[made.items_V], np.repeat(np.arange(len(sizes)), sizes))
    assert made.axes_DH.T @ made.axes_DH == pytest.approx(np.eye(DIM // 2), abs=1e-5)
    begins = np.concatenate([[0], made.ends_C[:-1]])
    for begin, end in zip(begins, made.ends_C, strict=True):
        codes = made.heads_N[begin * DIM // 2 : end * DIM // 2].reshape(DIM // 2, end - begin).T
        heads = items.numpy()[made.items_V[begin:end]] @ made.axes_DH
        assert np.abs(made.step * codes.astype(np.float32) - heads).max() <= 0.51 * made.step


def test_the_same_input_gives_the_same_index() -> None:
    items, users = catalogue(LEAST_ITEMS + 1, 1_500)
    one, other = (make_index(items, users.numpy()) for _ in range(2))
    assert np.array_equal(one.items_V, other.items_V)
    assert np.array_equal(one.centroids_CD, other.centroids_CD)


@pytest.mark.parametrize(("items", "users"), [(1_000, 2_000), (LEAST_ITEMS + 1, 512), (30_000, 0)])
def test_a_small_catalogue_or_few_users_have_no_index(items: int, users: int) -> None:
    vectors, sample = catalogue(items, users)
    made = make_index(vectors, sample.numpy())
    assert made.centroids_CD.shape == (0, DIM)


def test_users_who_are_everywhere_have_no_index() -> None:
    """No cell says anything about a user in 64 dimensions: nearly all of them would have to be read."""
    torch.manual_seed(0)
    items = normalize(torch.randn(LEAST_ITEMS + 1, 64), dim=1)
    users = normalize(torch.randn(2_000, 64), dim=1)
    assert len(make_index(items, users.numpy()).centroids_CD) == 0

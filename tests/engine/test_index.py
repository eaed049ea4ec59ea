"""The index of a large catalogue: it finds what a full search finds, and knows when not to exist."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from moerec.artifacts.bundle import UserSample
from moerec.engine import index
from moerec.engine.index import LEAST_ITEMS, LENGTH, RECALL
from moerec.engine.kernels.nearby import Index
from moerec.models.config import LAST_ITEMS
from moerec.models.transitions import Transitions

DIM = 16
TEMPERATURE = 0.05


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


def make_index(
    items: Tensor, users: Tensor, recent: Tensor | None = None, neighbors: int = 0
) -> Index:
    """For users with the last items `recent`, if any, each followed by the next ones by number."""
    table = Transitions(len(items) - 1, neighbors)
    if recent is None:
        recent = torch.zeros(len(users), LAST_ITEMS, dtype=torch.int64)
    if neighbors:
        table.neighbors[1:-neighbors] = torch.arange(1, len(items) - neighbors)[
            :, None
        ] + torch.arange(1, neighbors + 1)
        table.chances[1:-neighbors] = 1 / neighbors
        table.weight.fill_(1e9)
    sample = UserSample(users.numpy().astype(np.float16), recent.int().numpy())
    return index.make_index(items, sample, table, TEMPERATURE)


def looked_at(made: Index, user: Tensor, last: float) -> NDArray[np.int32]:
    """The items of the cells that may hold one that is nearer than `last`."""
    reach = made.centroids_CD @ user.numpy() + made.spreads_C
    begins = np.concatenate([[0], made.ends_C[:-1]])
    read = [made.items_V[begins[c] : made.ends_C[c]] for c in np.flatnonzero(reach >= last)]
    return np.concatenate(read)


def test_users_who_were_not_there_find_what_they_would_find_everywhere() -> None:
    items, users = catalogue(LEAST_ITEMS + 5_000, 4_000)
    made = make_index(items, users[:3_500])
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
    made = make_index(items, users)
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
    one, other = (make_index(items, users) for _ in range(2))
    assert np.array_equal(one.items_V, other.items_V)
    assert np.array_equal(one.centroids_CD, other.centroids_CD)


@pytest.mark.parametrize(("items", "users"), [(1_000, 2_000), (LEAST_ITEMS + 1, 512), (30_000, 0)])
def test_a_small_catalogue_or_few_users_have_no_index(items: int, users: int) -> None:
    vectors, sample = catalogue(items, users)
    made = make_index(vectors, sample)
    assert made.centroids_CD.shape == (0, DIM)


def everywhere() -> tuple[Tensor, Tensor]:
    """Items and users without any order."""
    torch.manual_seed(0)
    items = normalize(torch.randn(LEAST_ITEMS + 1, 64), dim=1)
    items[0] = 0
    return items, normalize(torch.randn(2_000, 64), dim=1)


def test_users_who_are_everywhere_have_no_index() -> None:
    """No cell says anything about a user in 64 dimensions: nearly all of them would have to be read."""
    items, users = everywhere()
    assert len(make_index(items, users).centroids_CD) == 0


def test_items_without_any_order_have_an_index_where_lists_are_what_follows() -> None:
    """A million items that were met twice each lie anywhere, and an engine read all of them for each list:
    cells had to reach for the nearest vectors, though lists were full of followers nobody had to search."""
    items, users = everywhere()
    recent = torch.randint(1, LEAST_ITEMS - 50, (len(users), LAST_ITEMS))
    made = make_index(items, users, recent, neighbors=20)
    assert len(made.centroids_CD) > 100


def test_cells_reach_for_the_followers_in_them() -> None:
    """A follower whose cell does not come up to the list's last place is passed over: so the cells reach far
    enough for followers that their vectors have brought into the list."""
    items, users = everywhere()
    recent = torch.randint(1, LEAST_ITEMS - 2_100, (len(users), LAST_ITEMS))
    # A thousand followers that are equally likely: the nearest of them are the list.
    made = make_index(items, users, recent[:, :1].repeat(1, LAST_ITEMS), neighbors=1_000)
    few = make_index(items, users, recent, neighbors=5)
    assert made.spreads_C.mean() > few.spreads_C.mean()

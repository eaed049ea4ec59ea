"""The index of a large catalogue: it finds what a full search finds, and knows when not to exist."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from moerec.artifacts.bundle import UserSample
from moerec.engine import index
from moerec.engine.index import LEAST_ITEMS, LENGTH, RECALL, no_index
from moerec.engine.kernels.lists import Asked, Table, best_items
from moerec.engine.kernels.nearby import Index
from moerec.engine.kernels.standing import all_here
from moerec.models.config import LAST_ITEMS
from moerec.models.transitions import Transitions, shares

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


def no_recent(users: int) -> Tensor:
    return torch.zeros(users, LAST_ITEMS, dtype=torch.int64)


def table_of(items: Tensor, neighbors: int) -> Transitions:
    """Each item is followed by the next ones by number, all equally likely and likelier than the nearest."""
    table = Transitions(len(items) - 1, neighbors)
    if neighbors:
        first = torch.arange(1, len(items) - neighbors)[:, None]
        table.neighbors[1:-neighbors] = first + torch.arange(1, neighbors + 1)
        table.chances[1:-neighbors] = 1 / neighbors
        table.weight.fill_(1e9)
    return table


def make_index(
    items: Tensor, users: Tensor, recent: Tensor | None = None, neighbors: int = 0
) -> Index:
    recent = no_recent(len(users)) if recent is None else recent
    sample = UserSample(users.numpy().astype(np.float16), recent.int().numpy())
    return index.make_index(items, sample, table_of(items, neighbors), TEMPERATURE)


def lists(
    made: Index, items: Tensor, users: Tensor, recent: Tensor, neighbors: int, size: int
) -> list[set[int]]:
    """As an engine makes them."""
    given = table_of(items, neighbors)
    table = Table(
        given.neighbors.numpy(),
        given.chances.numpy(),
        shares(torch.ones(1, LAST_ITEMS, dtype=torch.int64))[0].numpy(),
        np.float32(given.weight),
        np.float32(TEMPERATURE),
    )
    nothing, none = np.zeros(0, np.int32), np.zeros(len(users), np.int64)
    sizes = np.full(len(users), size)
    asked = Asked(users.numpy(), recent.numpy(), nothing, none, sizes)
    found = np.zeros((len(users), size), np.int64)
    scores = np.full((len(users), size), -np.inf, np.float32)
    best_items(items.numpy(), table, made, all_here(len(items) - 1), asked, found, scores)
    return [set(row) for row in found.tolist()]


def looked_at(made: Index, user: Tensor, last: float) -> NDArray[np.int32]:
    """The items of the cells that may hold one that is nearer than `last`."""
    reach = made.centroids_CD @ user.numpy() + made.wide_spreads_C
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
    cells had to reach for the nearest vectors, though lists were full of followers nobody had to search.

    Lists that followers do not fill, of users without last items or longer ones, find what there is too.
    """
    items, users = everywhere()
    recent = torch.randint(1, LEAST_ITEMS - 50, (len(users), LAST_ITEMS))
    made = make_index(items, users, recent, neighbors=20)
    assert len(made.centroids_CD) > 100
    exact = no_index(items.shape[1])
    some, theirs = users[:40], recent[:40]
    for last, size in ((theirs, 10), (theirs, 300), (no_recent(40), 10)):
        ours = lists(made, items, some, last, 20, size)
        wanted = lists(exact, items, some, last, 20, size)
        shares_found = [len(one & other) / size for one, other in zip(ours, wanted, strict=True)]
        assert np.mean(shares_found) > RECALL - 0.01


def test_cells_reach_for_the_followers_in_them() -> None:
    """A follower whose cell does not come up to the list's last place is passed over: so the cells reach far
    enough for followers that their vectors have brought into the list."""
    items, users = everywhere()
    recent = torch.randint(1, LEAST_ITEMS - 2_100, (len(users), 1)).repeat(1, LAST_ITEMS)
    # Of a thousand followers that are equally likely, the nearest are the list.
    made = make_index(items, users, recent, neighbors=1_000)
    ours, wanted = (
        lists(each, items, users[:100], recent[:100], 1_000, 10)
        for each in (made, no_index(items.shape[1]))
    )
    found = [len(one & other) / 10 for one, other in zip(ours, wanted, strict=True)]
    assert np.mean(found) > RECALL - 0.01


@pytest.mark.parametrize("temperature", [0.001, 0.05])
def test_the_measure_holds_at_any_temperature(temperature: float) -> None:
    """e^(1 / temperature) is more than a float32 can say, and all cells seemed to reach everything."""
    items, users = catalogue(LEAST_ITEMS + 5_000, 1_500)
    sample = UserSample(users.numpy().astype(np.float16), no_recent(len(users)).int().numpy())
    made = index.make_index(items, sample, table_of(items, 0), temperature)
    usual = index.make_index(items, sample, table_of(items, 0), TEMPERATURE)
    assert made.spreads_C == pytest.approx(usual.spreads_C)

"""The index of a large catalogue: it finds what a full search finds, and knows when not to exist."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from moerec.engine import index
from moerec.engine.index import LEAST_ITEMS, RECALL, make_index

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


def looked_at(made: index.Index, user: Tensor) -> NDArray[np.int32]:
    """The items of the clusters that the user is nearest to."""
    nearness = made.centroids_CD @ user.numpy()
    return np.unique(made.lists_CN[np.argsort(-nearness)[: made.probes]])


def test_users_who_were_not_there_find_what_they_would_find_everywhere() -> None:
    items, users = catalogue(LEAST_ITEMS + 5_000, 4_000)
    made = make_index(items, users[:3_500].numpy())
    assert len(made.centroids_CD) > 100
    assert made.lists_CN.min() >= 1
    found, read = 0.0, 0
    for user in users[3_500:]:
        best = (items[1:] @ user).topk(10).indices.numpy() + 1
        seen = looked_at(made, user)
        found += np.isin(best, seen).mean()
        read += len(seen)
    assert found / 500 > RECALL - 0.02
    assert read / 500 < len(items) / 2


def test_the_same_input_gives_the_same_index() -> None:
    items, users = catalogue(LEAST_ITEMS + 1, 1_500)
    one, other = (make_index(items, users.numpy()) for _ in range(2))
    assert np.array_equal(one.lists_CN, other.lists_CN)
    assert np.array_equal(one.centroids_CD, other.centroids_CD)


@pytest.mark.parametrize(("items", "users"), [(1_000, 2_000), (LEAST_ITEMS + 1, 520), (30_000, 0)])
def test_a_small_catalogue_or_few_users_have_no_index(items: int, users: int) -> None:
    vectors, sample = catalogue(items, users)
    made = make_index(vectors, sample.numpy())
    assert made.centroids_CD.shape == (0, DIM)


def test_users_who_are_everywhere_have_no_index() -> None:
    """No cluster says anything about a user in 64 dimensions: long lists would find too little."""
    torch.manual_seed(0)
    items = normalize(torch.randn(LEAST_ITEMS + 1, 64), dim=1)
    users = normalize(torch.randn(2_000, 64), dim=1)
    assert len(make_index(items, users.numpy()).centroids_CD) == 0

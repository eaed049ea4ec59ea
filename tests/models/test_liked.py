"""The head for "liked" on small random numbers: what it reads, and that nothing else matters."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moerec.models.config import ModelConfig
from moerec.models.events import Events
from moerec.models.liked import LikedHead
from moerec.models.recommender import MoERecommender, take_out

ITEMS = 300
CONFIG = ModelConfig(
    items=ITEMS,
    dim=16,
    layers=2,
    heads=2,
    window=4,
    expert_dim=8,
    dropout=0.0,
    liked_factors=3,
    liked_from=3.0,
)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def random_model(config: ModelConfig = CONFIG) -> MoERecommender:
    torch.manual_seed(0)
    model = MoERecommender(config).eval()
    if model.liked is not None:
        for buffer in model.liked.buffers():
            buffer.normal_()
        model.liked.weight.fill_(1.0)
    return model


def head() -> LikedHead:
    liked = random_model().liked
    assert liked is not None
    return liked


def random_past(events: int, seed: int = 1) -> Events:
    """Two of three events have a value of 1 to 5."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, ITEMS + 1, (events,), generator=generator)
    values = torch.randint(1, 6, (events,), generator=generator).float()
    values[::3] = torch.nan
    return Events(items, torch.arange(events), values)


def rows(model: MoERecommender, pasts: list[Events]) -> Tensor:
    ends = torch.cumsum(torch.tensor([len(past.items) for past in pasts]), 0)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends[:-1]])
    flat = Events(
        torch.cat([past.items for past in pasts]),
        torch.cat([past.times for past in pasts]),
        torch.cat([past.values for past in pasts]),
    )
    found = model.user_vectors(flat, starts, ends).liked
    assert found is not None
    return found


def test_what_comes_later_has_no_influence() -> None:
    """Values of the future, also of the same flat array, are not read: only those before the end are."""
    model, past = random_model(), random_past(12)
    changed = Events(past.items, past.times, past.values.clone())
    changed.values[8:] = 1.0
    start, end = torch.tensor([0]), torch.tensor([8])
    one, other = (model.user_vectors(events, start, end).liked for events in (past, changed))
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)


@pytest.mark.parametrize("place", [1, 10])
def test_a_past_value_has_influence(place: int) -> None:
    model, past = random_model(), random_past(12)
    changed = Events(past.items, past.times, past.values.clone())
    changed.values[place] = 6.0 - changed.values[place] + 0.5
    assert (rows(model, [past]) - rows(model, [changed])).abs().max() > 1e-3


def test_the_order_of_padding_and_batch_make_no_difference() -> None:
    model = random_model()
    pasts = [random_past(length, seed=length) for length in (1, 5, 40, 12)]
    together = rows(model, pasts)
    for past, row in zip(pasts, together, strict=True):
        torch.testing.assert_close(rows(model, [past])[0], row, atol=1e-4, rtol=1e-4)


def test_a_past_without_values_is_what_the_vector_expects() -> None:
    liked = head()
    items = torch.randint(1, ITEMS, (2, 6))
    none = Events(items, torch.zeros_like(items), torch.full((2, 6), torch.nan))
    vectors = torch.randn(2, CONFIG.dim)
    found = liked.user_rows(vectors, none)
    expected = vectors @ liked.values.expected[:-1] + liked.values.expected[-1]
    torch.testing.assert_close(found[:, :3], liked.mix[0] * expected)


def test_tastes_are_the_posterior_of_factor_analysis() -> None:
    """Against the formula for one user, with marks, means and loadings in units of the noise."""
    values = head().values
    items, marks = torch.tensor([[3, 9, 4]]), torch.tensor([[5.0, 1.0, torch.nan]])
    vector = torch.randn(1, CONFIG.dim)
    loadings = values.loadings[items[0, :2]]
    left = marks[0, :2] * values.precision[items[0, :2]] - values.means[items[0, :2]]
    prior = vector[0] @ values.expected[:-1] + values.expected[-1]
    wanted = torch.linalg.inv(torch.eye(3) + loadings.T @ loadings) @ (loadings.T @ left + prior)
    torch.testing.assert_close(values.tastes(items, marks, vector)[0], wanted, atol=1e-4, rtol=1e-4)


def test_re_ranking_moves_the_best_200_and_nothing_else() -> None:
    liked = head()
    scores, users = torch.randn(4, ITEMS + 1), torch.randn(4, 8)
    again = liked.rerank(scores, users, temperature=0.5)
    for row in range(4):
        best = scores[row, 1:].topk(200).indices + 1
        rest = torch.tensor(sorted(set(range(ITEMS + 1)) - set(best.tolist())))
        assert torch.equal(again[row, rest], scores[row, rest])
        assert set((again[row, 1:].topk(200).indices + 1).tolist()) == set(best.tolist())
        wanted = scores[row, best] + 0.5 * torch.nn.functional.logsigmoid(
            liked.logits(users[row : row + 1], best[None])[0]
        )
        difference = again[row, best] - wanted
        torch.testing.assert_close(difference, difference[:1].expand(200), atol=1e-4, rtol=1e-4)


def test_what_has_left_the_list_takes_no_place_among_the_best() -> None:
    """Of a user who had seen 80 of the best 200, the next 120 alone were put into a new order."""
    liked = head()
    scores, users = torch.randn(2, ITEMS + 1), torch.randn(2, 8)
    seen = scores[0].topk(80).indices
    left = scores.clone()
    take_out(left, [seen.tolist(), list(range(1, ITEMS + 1))])
    again = liked.rerank(left, users, temperature=0.5)
    assert again[0, seen].isneginf().all()
    assert again[1, 1:].isneginf().all()
    others = torch.tensor(sorted(set(range(1, ITEMS + 1)) - set(seen.tolist())))
    best = others[scores[0, others].topk(200).indices]
    wanted = scores[0, best] + 0.5 * torch.nn.functional.logsigmoid(
        liked.logits(users[:1], best[None])[0]
    )
    difference = again[0, best] - wanted
    torch.testing.assert_close(difference, difference[:1].expand(200), atol=1e-4, rtol=1e-4)


def test_without_a_weight_or_a_head_lists_stay_as_they_are() -> None:
    model, scores = random_model(), torch.randn(2, ITEMS + 1)
    assert model.liked is not None
    model.liked.weight.zero_()
    assert model.rerank(scores, torch.randn(2, 8)) is scores
    assert random_model(replace(CONFIG, liked_factors=0)).rerank(scores, None) is scores


def test_nobody_is_a_user_of_an_empty_past() -> None:
    assert head().nobody().shape == (8,)
    assert head().nobody().isfinite().all()


def test_the_head_costs_the_network_nothing() -> None:
    """The same seed makes the same network with and without a head."""
    with_head, without = random_model(), random_model(replace(CONFIG, liked_factors=0))
    for name, tensor in without.state_dict().items():
        assert torch.equal(tensor, with_head.state_dict()[name])

"""Exact top-k: order, exclusion, ties."""

import pytest
import torch

from moerec.engine.retrieval import cosine_scores, top_k
from moerec.models.recommender import take_out

torch.set_num_threads(1)


def test_best_first_without_padding() -> None:
    values, indexes = top_k(torch.tensor([[9.0, 0.1, 0.3, 0.2]]), 2)
    assert indexes.tolist() == [[2, 3]]
    assert values.tolist() == [pytest.approx([0.3, 0.2])]


def test_excluded_items_differ_by_row() -> None:
    scores = torch.tensor([[0.0, 3.0, 2.0, 1.0], [0.0, 3.0, 2.0, 1.0]])
    take_out(scores, [[1], [2, 2, 0]])
    assert top_k(scores, 2)[1].tolist() == [[2, 3], [1, 3]]


def test_ties_go_to_the_lower_index_inside_and_at_the_end_of_the_list() -> None:
    scores = torch.zeros(2, 1001)
    scores[0, 500] = 1.0
    scores[1, [7, 9, 900]] = 1.0
    take_out(scores, [[1], []])
    _, indexes = top_k(scores, 4)
    assert indexes.tolist() == [[500, 2, 3, 4], [7, 9, 900, 1]]


def test_k_above_the_catalogue_gives_the_catalogue() -> None:
    values, indexes = top_k(torch.tensor([[0.0, -torch.inf, 2.0]]), 10)
    assert indexes.shape == (1, 2)
    assert values.tolist() == [[2.0, -torch.inf]]


@pytest.mark.parametrize("seed", range(5))
def test_equals_a_full_stable_sort(seed: int) -> None:
    """Coarse scores are full of ties; the reference sorts everything, stably, by falling score."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (8, 60), generator=generator).float()
    expected = scores.clone()
    expected[:, 0] = -torch.inf
    order = expected.sort(dim=1, descending=True, stable=True).indices[:, :10]
    assert torch.equal(top_k(scores, 10)[1], order)


def test_cosine_ignores_length() -> None:
    unit = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
    scores = cosine_scores(torch.tensor([[5.0, 0.0]]), unit)
    assert scores.tolist() == [pytest.approx([0.0, 1.0, 0.6])]

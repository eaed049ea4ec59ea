"""Items from id and content: what an item has, and what it lacks."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from moerec.models.config import ModelConfig
from moerec.models.recommender import MoERecommender
from tests.tiny import tiny_config

# Items 1..5; item 1 has features 0 and 1, item 2 feature 1, item 4 feature 2; 3 and 5 have none.
OFFSETS = torch.tensor([0, 0, 2, 3, 3, 4, 4], dtype=torch.int32)
FEATURES = torch.tensor([0, 1, 1, 2], dtype=torch.int32)
WEIGHTS = torch.tensor([0.6, 0.8, 1.0, 1.0])
TRAINED = torch.tensor([False, True, True, True, False, False])
CONFIG = replace(tiny_config(5), features=3, feature_entries=4)


def model(config: ModelConfig = CONFIG) -> MoERecommender:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = MoERecommender(config).eval()
    assert made.content is not None
    made.content.fill(OFFSETS, FEATURES, WEIGHTS, TRAINED)
    return made


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def test_an_items_vector_is_its_id_plus_its_features() -> None:
    made = model()
    assert made.content is not None
    table, ids = made.content.embedding.weight, made.embedding.weight
    vectors = made.item_vectors()
    assert torch.allclose(vectors[1], unit(ids[1] + 0.6 * table[0] + 0.8 * table[1]))
    assert torch.allclose(vectors[3], unit(ids[3]))


def test_an_item_without_events_is_its_content_alone() -> None:
    """Its id vector is where chance put it, and must not be taken for knowledge."""
    made = model()
    assert made.content is not None
    vectors = made.item_vectors()
    assert torch.allclose(vectors[4], unit(made.content.embedding.weight[2]))
    assert not vectors[5].any()
    assert not vectors[0].any()


def test_an_item_outside_the_catalogue_is_placed_like_one_without_events() -> None:
    made = model()
    offsets = torch.tensor([0, 1, 1])
    placed = made.vectors_of(offsets, torch.tensor([2]), torch.tensor([1.0]))
    assert torch.allclose(placed[0], made.item_vectors()[4])
    assert not placed[1].any()
    without = MoERecommender(tiny_config(5))
    assert not without.vectors_of(offsets, torch.tensor([2]), torch.tensor([1.0])).any()


def test_training_hides_ids_of_items_with_content_only() -> None:
    made = model(replace(CONFIG, id_dropout=0.5)).train()
    assert made.content is not None
    alone = unit(made.content.embedding.weight[1])
    drawn = torch.stack([made.item_vectors() for _ in range(200)])
    hidden = (drawn[:, 2] - alone).norm(dim=1) < 1e-6
    assert 60 < int(hidden.sum()) < 140
    ids_only = unit(made.embedding.weight[3])
    assert torch.allclose(drawn[:, 3], ids_only.expand(200, -1))
    assert torch.equal(made.eval().item_vectors(), made.item_vectors())


def test_features_learn_from_every_item_that_has_them() -> None:
    made = model()
    assert made.content is not None
    made.item_vectors()[2].sum().backward()
    gradient = made.content.embedding.weight.grad
    assert gradient is not None
    assert gradient[1].any()
    assert not gradient[[0, 2]].any()


@pytest.mark.parametrize(
    "change", [{"features": 0}, {"feature_entries": 0}, {"id_dropout": 1.0}, {"id_dropout": -0.1}]
)
def test_configurations_that_contradict_themselves(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"feature|id_dropout"):
        replace(CONFIG, **change)

"""A bundle small enough for a test: a few items, a random model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from moerec.artifacts.bundle import (
    Bundle,
    BundleContents,
    DataFacts,
    ItemList,
    PopularItem,
    UserSample,
    write_bundle,
)
from moerec.artifacts.trained_on import TrainedOn
from moerec.data.item_features import item_features, learn_recipe
from moerec.data.items import ItemTable
from moerec.models.config import ModelConfig
from moerec.models.events import Events
from moerec.models.recommender import MoERecommender
from moerec.training.presets import Variant
from moerec.types import ItemId

SMALL = Variant(settings={"dim": 16, "expert_dim": 32})
"""A network that trains in a fifth of the time of the preset's: for tests that are about something else."""

SMALL_OPTIONS = ("--set", "dim=16", "--set", "expert_dim=32")
"""The same on the command line."""


def tiny_config(items: int) -> ModelConfig:
    """Two layers of four experts; a vector depends on the last 7 events, and 150 for the summary."""
    return ModelConfig(
        items=items, dim=16, layers=2, heads=2, window=4, experts=4, expert_dim=8, dropout=0.0
    )


def item_events(items: Tensor) -> Events:
    """Events of which nothing but the items is known."""
    return Events(items, torch.zeros_like(items), torch.full(items.shape, torch.nan))


def tiny_bundle(
    path: Path,
    items: int = 40,
    seed: int = 0,
    liked_weight: float = 0.0,
    experts: int = 4,
    groups: int = 0,
    users: UserSample | None = None,
) -> Bundle:
    """Items "i1" to "i40" with titles "Item 1" to "Item 40"; the lower the number, the more popular.

    With a `liked_weight` there is a random head for "liked" (3 or more), which re-ranks the lists. With
    `groups` the model knows a column "group" of the items, "g0" and so on in turns, and the last two items
    are that alone.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = replace(tiny_config(items), experts=experts)
    if liked_weight:
        config = replace(config, liked_factors=3, liked_from=3.0)
    table = ItemTable(
        pl.DataFrame(
            {
                "item_id": [f"i{number}" for number in range(1, items + 1)],
                "group": [f"g{number % groups if groups else 0}" for number in range(items)],
            }
        )
    )
    recipe = learn_recipe(table) if groups else None
    if recipe is not None:
        features = item_features(recipe, table, np.arange(1, items + 1, dtype=np.int32), items)
        config = replace(config, features=features.size, feature_entries=len(features.features))
    model = MoERecommender(config)
    if recipe is not None and model.content is not None:
        trained = torch.arange(items + 1) < items - 1
        arrays = (features.offsets, features.features, features.weights)
        model.content.fill(*map(torch.from_numpy, arrays), trained)
        model.content.length.fill_(0.9)
    if model.liked is not None:
        for buffer in model.liked.buffers():
            buffer.normal_()
        model.liked.weight.fill_(liked_weight)
    ids = [ItemId(f"i{number}") for number in range(1, items + 1)]
    contents = BundleContents(
        config=config.to_dict(),
        weights={name: tensor.numpy() for name, tensor in model.state_dict().items()},
        items=ItemList(
            ids, [f"Item {number}" for number in range(1, items + 1)], [[] for _ in ids]
        ),
        popular=[PopularItem(item_id, items - place) for place, item_id in enumerate(ids)],
        trained_on=TrainedOn(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64)),
        data=DataFacts("<none>", "", 0, 0, items, has_time=True),
        held_out="none",
        training={},
        metrics={},
        created="2026-01-01T00:00:00Z",
        content=recipe,
        users=users,
    )
    return write_bundle(path, contents)

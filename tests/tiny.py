"""A bundle small enough for a test: a few items, a random model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moerec.artifacts.bundle import (
    Bundle,
    BundleContents,
    DataFacts,
    ItemList,
    PopularItem,
    write_bundle,
)
from moerec.artifacts.trained_on import TrainedOn
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
    path: Path, items: int = 40, seed: int = 0, liked_weight: float = 0.0, experts: int = 4
) -> Bundle:
    """Items "i1" to "i40" with titles "Item 1" to "Item 40"; the lower the number, the more popular.

    With a `liked_weight` there is a random head for "liked" (3 or more), which re-ranks the lists.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = replace(tiny_config(items), experts=experts)
    if liked_weight:
        config = replace(config, liked_factors=3, liked_from=3.0)
    model = MoERecommender(config)
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
    )
    return write_bundle(path, contents)

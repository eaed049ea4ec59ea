"""What items are made of besides their ids: a learned vector for each feature of their content.

Letters: V items, F features, n (item, feature) pairs, D width.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.config import ModelConfig

INITIAL_STD: Final = 0.02


class ItemContent(nn.Module):
    """Adds to each item's id vector the weighted sum of its features' vectors.

    An item without a training event is its content alone: its id vector is where chance put it. In
    training a share `id_dropout` of the items is treated alike at each call (Volkovs et al. 2017,
    "DropoutNet"), so that what items have in common is learned where others can use it.
    """

    offsets: Tensor
    features: Tensor
    weights: Tensor
    trained: Tensor
    length: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        rows, entries = config.items + 1, config.feature_entries
        self.id_dropout = config.id_dropout
        self.embedding = nn.Embedding(config.features, config.dim)
        nn.init.normal_(self.embedding.weight, std=INITIAL_STD)
        self.register_buffer("offsets", torch.zeros(rows + 1, dtype=torch.int32))
        self.register_buffer("features", torch.zeros(entries, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(entries))
        self.register_buffer("trained", torch.zeros(rows, dtype=torch.bool))
        # Of the vectors of items without events; set after the training (`moerec.training.newcomers`).
        self.register_buffer("length", torch.tensor(1.0))

    def fill(self, offsets: Tensor, features: Tensor, weights: Tensor, trained: Tensor) -> None:
        """Before training: the features of each row, and whether it has a training event.

        `offsets` [V + 2], `features` and `weights` [n] as in `moerec.data.item_features.ItemFeatures`,
        `trained` bool [V + 1].
        """
        self.offsets.copy_(offsets)
        self.features.copy_(features)
        self.weights.copy_(weights)
        self.trained.copy_(trained)

    def forward(self, ids_VD: Tensor) -> Tensor:
        """[V + 1, D] -> [V + 1, D], not normalised."""
        return ids_VD * self._with_id()[:, None] + self.sums(
            self.offsets, self.features, self.weights
        )

    def lengthened(self, units_VD: Tensor) -> Tensor:
        """Unit vectors [V + 1, D] with those of items without events as long as `length`."""
        return torch.where(self.trained[:, None], units_VD, units_VD * self.length)

    def sums(self, offsets: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of each row's feature vectors, zero for an empty row."""
        return functional.embedding_bag(
            features,
            self.embedding.weight,
            offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )

    def _with_id(self) -> Tensor:
        """Which rows have their id's part, bool [V + 1]. What has no content keeps it."""
        if not self.training or not self.id_dropout:
            return self.trained
        kept = torch.rand(len(self.trained), device=self.trained.device) >= self.id_dropout
        return self.trained & (kept | (self.offsets.diff() == 0))

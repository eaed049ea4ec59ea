"""The model that others import: item vectors, the encoder, and the score of a user for an item.

Letters: B histories, L positions, P events of the summary's prefix, D width, V items, E experts,
N events of the flat array.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.config import SUMMARY_EVENTS, ModelConfig
from moerec.models.content import ItemContent
from moerec.models.encoder import Encoder
from moerec.models.router import Routing
from moerec.types import PADDING

INITIAL_STD: Final = 0.02
"""Small against what a step of the optimiser moves: an item with few events must not keep its random
beginning as its meaning."""


@dataclass(frozen=True, slots=True)
class UserVectors:
    """`vectors` float32 [B, D] of length 1; `experts` bool [B, layers, E]: awake for the newest event."""

    vectors: Tensor
    experts: Tensor


class MoERecommender(nn.Module):
    """A causal transformer with sparse experts over item histories (see docs/model.md).

    A user's vector is the normalised last hidden row; the score for an item is their cosine.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.items + 1, config.dim, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=INITIAL_STD)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()
        self.encoder = Encoder(config)
        self.content = ItemContent(config) if config.features else None

    def forward(
        self, items_BL: Tensor, prefix_BP: Tensor, vectors_VD: Tensor | None = None
    ) -> tuple[Tensor, list[Routing]]:
        """Hidden rows [B, L, D] (not yet normalised) and the routing of each layer.

        `items_BL` holds item indexes, padding (0) after a history's end. `prefix_BP` are the events
        before the first column, newest last, padding before the oldest: they feed the summary alone.
        Who has called `item_vectors` already gives the result as `vectors_VD`.
        """
        if vectors_VD is None:
            vectors_VD = self.item_vectors()
        summary_BD = self.encoder.last_summary(self._embed(prefix_BP, vectors_VD))
        hidden_BLD, routings = self.encoder(
            self._embed(items_BL, vectors_VD), items_BL != PADDING, summary_BD
        )
        return hidden_BLD, routings

    def item_vectors(self) -> Tensor:
        """[V + 1, D]: the items as the encoder reads them and as they are scored.

        Each has length 1; the padding row is zero, and so is an item without events and content.
        In training some items lose their id's part, others at each call.
        """
        vectors_VD = self.embedding.weight
        if self.content is not None:
            vectors_VD = self.content(vectors_VD)
        return functional.normalize(vectors_VD, dim=1)

    @torch.inference_mode()
    def vectors_of(self, offsets: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """Vectors [n, D] of n items that the catalogue lacks, from their content alone.

        Rows as in `moerec.data.item_features.ItemFeatures`, without the padding row. Zero for an item
        without a known feature, and in a model without content.
        """
        if self.content is None:
            return self.embedding.weight.new_zeros(len(offsets) - 1, self.config.dim)
        return functional.normalize(self.content.sums(offsets, features, weights), dim=1)

    @torch.inference_mode()
    def user_vectors(
        self, items: Tensor, starts: Tensor, ends: Tensor, vectors_VD: Tensor | None = None
    ) -> UserVectors:
        """User b's history is `items[starts[b]:ends[b]]`, oldest first, without padding, never empty.

        Offline evaluation, notebooks and the engine all come through here. At most `config.reach`
        events before `ends` are read. `vectors_VD` as in `forward`.
        """
        windows, prefixes, lengths = self._cut(items, starts, ends)
        hidden_BLD, routings = self(windows, prefixes, vectors_VD)
        last_B1 = lengths[:, None] - 1
        last_BD = hidden_BLD.gather(1, last_B1[..., None].expand(-1, -1, hidden_BLD.shape[2]))[:, 0]
        # Routing is over valid tokens, history after history: the newest is at the running total.
        newest_B = torch.cumsum(lengths, 0) - 1
        experts = torch.stack(
            [routing.awake(self.config.experts)[newest_B] for routing in routings], dim=1
        )
        return UserVectors(functional.normalize(last_BD, dim=1), experts)

    def score(self, users_BD: Tensor, items_VD: Tensor) -> Tensor:
        """Cosines [B, V + 1]; column 0 is the padding."""
        return users_BD @ items_VD.T

    def _embed(self, items: Tensor, vectors_VD: Tensor) -> Tensor:
        # The same unit vectors as the item side's, scaled to about 1 a coordinate: an item's direction
        # is all there is of it.
        vectors = functional.embedding(items, vectors_VD, padding_idx=PADDING)
        return vectors * math.sqrt(self.config.dim)

    def _cut(self, items: Tensor, starts: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows [B, <=R] padded right, prefixes [B, <=P] padded left, window lengths [B]."""
        first = torch.maximum(starts, ends - self.config.receptive_field)
        lengths = ends - first
        windows = _slices(items, first, int(lengths.max()), ends=ends)
        prefix = min(SUMMARY_EVENTS, int((first - starts).max()))
        prefixes = _slices(items, first - prefix, prefix, starts=starts)
        return windows, prefixes, lengths


def _slices(
    items: Tensor,
    first: Tensor,
    width: int,
    *,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """`items[first : first + width]` for each row; padding before `starts` and from `ends` on."""
    place = first[:, None] + torch.arange(width, device=items.device)
    inside = torch.ones_like(place, dtype=torch.bool)
    if starts is not None:
        inside &= place >= starts[:, None]
    if ends is not None:
        inside &= place < ends[:, None]
    return items[place.clamp(0, len(items) - 1)].masked_fill(~inside, PADDING)

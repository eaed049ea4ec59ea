"""The model that others import: item vectors, the encoder, and the score of a user for an item.

Letters: B histories, L positions, P events of the summary's prefix, D width, V items, E experts,
N events of the flat array.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.config import LAST_ITEMS, SUMMARY_EVENTS, ModelConfig
from moerec.models.content import ItemContent
from moerec.models.encoder import Encoder
from moerec.models.events import Events
from moerec.models.liked import LikedHead, joined
from moerec.models.router import Routing
from moerec.models.transitions import Transitions
from moerec.types import PADDING

INITIAL_STD: Final = 0.02
"""Small against what a step of the optimiser moves: an item with few events must not keep its random
beginning as its meaning."""


@dataclass(frozen=True, slots=True)
class UserVectors:
    """What a list is made from, for B users.

    `vectors` float32 [B, D] of length 1; `experts` bool [B, layers, E]: awake for the newest event;
    `recent` int64 [B, 10]: the last items, newest first, 0 where there is none; `liked` float32 [B, G]
    the rows of the head for "liked", None in a model without one.
    """

    vectors: Tensor
    experts: Tensor
    recent: Tensor
    liked: Tensor | None = None


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What serving takes away from the newest event of B histories.

    `masked` bool [B, layers, E]: experts that must not run, at least `min_experts` of a layer are not
    among them; `most` int64 [B]: the most experts to wake in a layer, `min_experts` to `max_experts`.
    """

    masked: Tensor
    most: Tensor


class MoERecommender(nn.Module):
    """A causal transformer with sparse experts over item histories (see docs/model.md).

    A user's vector is the normalised last hidden row; the score for an item is their cosine, mixed
    with how often the item follows the user's last ones.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.items + 1, config.dim, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=INITIAL_STD)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()
        self.encoder = Encoder(config)
        self.transitions = Transitions(config.items, config.neighbors)
        self.content = ItemContent(config) if config.features else None
        self.liked = LikedHead(config) if config.liked_factors else None

    def forward(
        self,
        events_BL: Events,
        prefix_BP: Events,
        masked: list[Tensor] | None = None,
        vectors_VD: Tensor | None = None,
        most_N: Tensor | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """Hidden rows [B, L, D] (not yet normalised) and the routing of each layer.

        `events_BL` has padding after a history's end. `prefix_BP` are the events before the first
        column, newest last, padding before the oldest: they feed the summary alone. `masked` names
        for each layer the experts that must not run, bool [N, E] over the valid events, or [E], and
        `most_N` how many a valid event may wake, from `min_experts` up.
        Who has called `item_vectors` already gives the result as `vectors_VD`.
        """
        if vectors_VD is None:
            vectors_VD = self.item_vectors()
        prefix = prefix_BP.items if self.config.uses_summary else prefix_BP.items[:, :0]
        summary_BD = self.encoder.last_summary(self._embed(prefix, vectors_VD))
        # Places stand in for the times of a log without times; those of live events are another scale.
        times_BL = events_BL.times if self.config.uses_time else torch.zeros_like(events_BL.times)
        embedded_BLD = self._embed(events_BL.items, vectors_VD)
        hidden_BLD, routings = self.encoder(
            embedded_BLD, times_BL, events_BL.items != PADDING, summary_BD, masked, most_N
        )
        return hidden_BLD, routings

    def item_vectors(self) -> Tensor:
        """[V + 1, D]: the items as the encoder reads them and as they are scored.

        Each has length 1; the padding row is zero, and so is an item without events and content. An
        item without events that has content has the length `content.length` instead: 1 in training.
        In training some items lose their id's part, others at each call.
        """
        if self.content is None:
            return functional.normalize(self.embedding.weight, dim=1)
        return self.content.lengthened(
            functional.normalize(self.content(self.embedding.weight), dim=1)
        )

    @torch.inference_mode()
    def vectors_of(self, offsets: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """Vectors [n, D] of n items that the catalogue lacks, from their content alone.

        Rows as in `moerec.data.item_features.ItemFeatures`, without the padding row. Zero for an item
        without a known feature, and in a model without content; else `content.length` long.
        """
        if self.content is None:
            return self.embedding.weight.new_zeros(len(offsets) - 1, self.config.dim)
        units = functional.normalize(self.content.sums(offsets, features, weights), dim=1)
        return units * self.content.length

    @torch.inference_mode()
    def user_vectors(
        self,
        events: Events,
        starts: Tensor,
        ends: Tensor,
        vectors_VD: Tensor | None = None,
        limits: QueryLimits | None = None,
    ) -> UserVectors:
        """User b's history is `events[starts[b]:ends[b]]`, oldest first, without padding, never empty.

        Offline evaluation, notebooks and the engine all come through here. At most `config.reach`
        events before `ends` are read. `vectors_VD` as in `forward`. `limits` hold for the newest event
        of each history alone: the rows before it stay what they are.
        """
        windows, prefixes, lengths = self.cut(events, starts, ends)
        # Routing is over valid tokens, history after history: the newest is at the running total.
        newest_B = torch.cumsum(lengths, 0) - 1
        masked, most_N = self._on_rows(newest_B, limits) if limits else (None, None)
        hidden_BLD, routings = self(windows, prefixes, masked, vectors_VD, most_N)
        last_B1 = lengths[:, None] - 1
        last_BD = hidden_BLD.gather(1, last_B1[..., None].expand(-1, -1, hidden_BLD.shape[2]))[:, 0]
        experts = torch.stack(
            [routing.awake(self.config.experts)[newest_B] for routing in routings], dim=1
        )
        age_R = torch.arange(1, LAST_ITEMS + 1, device=ends.device)
        place_BR = ends[:, None] - age_R
        recent_BR = events.at(place_BR, place_BR >= starts[:, None]).items
        vectors_BD = functional.normalize(last_BD, dim=1)
        liked_BG = None
        if self.liked is not None:
            liked_BG = self.liked.user_rows(vectors_BD, joined(prefixes, windows))
        return UserVectors(vectors_BD, experts, recent_BR, liked_BG)

    def _on_rows(self, newest_B: Tensor, limits: QueryLimits) -> tuple[list[Tensor], Tensor]:
        """The limits as `forward` takes them: of the valid tokens, those at `newest_B` alone have any."""
        N, (_, layers, E) = int(newest_B[-1]) + 1, limits.masked.shape
        masked_nNE = torch.zeros(layers, N, E, dtype=torch.bool, device=newest_B.device)
        masked_nNE[:, newest_B] = limits.masked.transpose(0, 1)
        most_N = torch.full((N,), self.config.max_experts, device=newest_B.device)
        most_N[newest_B] = limits.most
        return list(masked_nNE), most_N

    def cut(self, events: Events, starts: Tensor, ends: Tensor) -> tuple[Events, Events, Tensor]:
        """What `forward` reads of user b's history `events[starts[b]:ends[b]]`, never empty.

        Windows [B, <=R] padded right, prefixes [B, <=P] padded left, window lengths [B].
        """
        first = torch.maximum(starts, ends - self.config.receptive_field)
        lengths = ends - first
        place_BL = first[:, None] + torch.arange(int(lengths.max()), device=first.device)
        width = min(SUMMARY_EVENTS, int((first - starts).max()))
        place_BP = first[:, None] - width + torch.arange(width, device=first.device)
        windows = events.at(place_BL, place_BL < ends[:, None])
        prefixes = events.at(place_BP, place_BP >= starts[:, None])
        return windows, prefixes, lengths

    def score(self, users_BD: Tensor, recent_BR: Tensor, items_VD: Tensor) -> Tensor:
        """Scores [B, V + 1] for `items_VD` of `item_vectors`; column 0 is the padding.

        `users_BD` and `recent_BR` are `vectors` and `recent` of `UserVectors`.
        """
        return self.transitions.mix(users_BD @ items_VD.T, recent_BR, self.config.temperature)

    def rerank(self, scores_BV: Tensor, users_BG: Tensor | None) -> Tensor:
        """The scores of `score` with their best in a new order by "liked"; as they are without a head.

        `users_BG` is `liked` of `UserVectors`. What must not be in the list goes before, by `take_out`:
        it would fill places among the best.
        """
        if self.liked is None or users_BG is None or self.liked.weight == 0:
            return scores_BV
        return self.liked.rerank(scores_BV, users_BG, self.config.temperature)

    def _embed(self, items: Tensor, vectors_VD: Tensor) -> Tensor:
        # The same unit vectors as the item side's, scaled to about 1 a coordinate: an item's direction
        # is all there is of it.
        vectors = functional.embedding(items, vectors_VD, padding_idx=PADDING)
        return vectors * math.sqrt(self.config.dim)


def take_out(scores_BV: Tensor, leaving: Sequence[Sequence[int]]) -> None:
    """Give the items `leaving[b]` the score -inf in row b, in place."""
    rows = [row for row, items in enumerate(leaving) for _ in items]
    columns = [item for items in leaving for item in items]
    places = torch.tensor([rows, columns], dtype=torch.int64, device=scores_BV.device)
    scores_BV[places.unbind()] = -torch.inf

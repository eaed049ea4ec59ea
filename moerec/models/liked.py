"""The second head: will this user like this item? And the past values that it, and the encoder, read.

Letters: B users, n events of a past, V items, D width, F taste width, G = 2 F + 2 width of a row.

The logit of "liked" is a sum of three parts, all of them known before the item is met:

* a matrix factorisation whose user side is computed, not stored: ridge regression of the user's past
  values on the taste vectors of the items, so that it needs no user id and follows each new rating;
* the encoder's row against the item's vector, through two small maps;
* biases: of the item, and of the user (how much kinder than others, shrunken).

It is one inner product of a user's row with an item's, so that it costs as little as the score.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.config import ModelConfig
from moerec.models.events import Events

RIDGE: Final = 15.0
"""Start of the ridge, in events: so many ratings weigh as much as the belief that a taste is average."""

SHRINKAGE: Final = 5.0
"""Events that a user must have rated for half of their kindness to be believed."""

RERANKED: Final = 200
"""So many of the best items of a list are put into a new order by how well they will be liked."""

_FARTHEST: Final = 3.0  # standard deviations: values beyond count as this far
_BUMPS: Final = 13
_WIDTH: Final = 0.5


def standardised(values: Tensor, config: ModelConfig) -> Tensor:
    """Standard deviations from the log's mean, in [-3, 3], any shape; NaN stays NaN."""
    return ((values - config.value_mean) / config.value_std).clamp(-_FARTHEST, _FARTHEST)


class ValueEmbedding(nn.Module):
    """Values as vectors that are added to the events' own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.output = nn.Linear(_BUMPS, config.dim, bias=False)
        nn.init.zeros_(self.output.weight)  # begins as the model that knows no values

    def forward(self, values: Tensor) -> Tensor:
        """[...] -> [..., D] by radial basis functions; zero where there is no value."""
        places = standardised(values, self.config)[..., None]
        centres = torch.linspace(-_FARTHEST, _FARTHEST, _BUMPS, device=values.device)
        bumps = torch.exp(-0.5 * ((places - centres) / _WIDTH) ** 2).nan_to_num(0.0)
        vectors: Tensor = self.output(bumps)
        return vectors


class LikedHead(nn.Module):
    """Rows of users and items whose inner product is the logit of "liked"."""

    weight: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        V, D, F = config.items, config.dim, config.taste_dim
        self.taste = nn.Parameter(torch.randn(V + 1, F) * 0.1)
        self.offset = nn.Parameter(torch.zeros(V + 1))
        self.item_bias = nn.Parameter(torch.zeros(V + 1))
        self.log_ridge = nn.Parameter(torch.tensor(math.log(RIDGE)))
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.base = nn.Parameter(torch.tensor(0.0))
        self.dropout = nn.Dropout(config.dropout)
        self.from_user = nn.Linear(D, F + 1, bias=False)
        nn.init.zeros_(self.from_user.weight)
        self.from_item = nn.Linear(D, F, bias=False)
        # How much a list minds it: set on validation, see training/calibrate.py.
        self.register_buffer("weight", torch.tensor(0.0))

    def user_rows(self, vectors_BD: Tensor, past_Bn: Events) -> Tensor:
        """[B, G] after the events `past_Bn`; `vectors_BD` are the encoder's, of length 1."""
        width = vectors_BD.shape[1] ** 0.5
        from_user = self.from_user(self.dropout(vectors_BD * width))
        taste_BF, kindness_B = self._regression(past_Bn)
        constant_B = self.scale * kindness_B + from_user[:, -1] + self.base
        return torch.cat(
            [
                self.scale * taste_BF,
                from_user[:, :-1],
                constant_B[:, None],
                torch.ones_like(constant_B)[:, None],
            ],
            dim=1,
        )

    def nobody(self) -> Tensor:
        """The row [1, G] of a user of whom nothing is known."""
        none = torch.zeros(1, 0, dtype=torch.int64, device=self.base.device)
        past = Events(none, none, none.float())
        return self.user_rows(torch.zeros(1, self.config.dim, device=self.base.device), past)

    def item_rows(self, items: Tensor, vectors: Tensor) -> Tensor:
        """[..., G] of the item indexes `items` [...] with their `vectors` [..., D] of length 1."""
        bias = self.item_bias[items][..., None]
        from_item = self.from_item(vectors)
        return torch.cat([self.taste[items], from_item, torch.ones_like(bias), bias], dim=-1)

    def catalogue_rows(self, vectors_VD: Tensor) -> Tensor:
        """[V + 1, G] of all items."""
        return self.item_rows(torch.arange(len(vectors_VD), device=vectors_VD.device), vectors_VD)

    def rerank(self, scores_BV: Tensor, logits_BV: Tensor, temperature: float) -> Tensor:
        """The scores with the best `RERANKED` in the order of score + weight * temperature * log P(liked).

        Their scores are raised by what lifts the least of them to where it was: the rest stays behind.
        With weight 1 the order is that of P(next) * P(liked).
        """
        last = min(RERANKED, scores_BV.shape[1] - 1)
        candidates_BV = scores_BV[:, 1:]
        among_BV = candidates_BV >= candidates_BV.topk(last, dim=1).values[:, -1:]
        bonus_BV = self.weight * temperature * functional.logsigmoid(logits_BV[:, 1:])
        least_B1 = bonus_BV.masked_fill(~among_BV, math.inf).amin(1, keepdim=True)
        raised_BV = candidates_BV + (bonus_BV - least_B1) * among_BV
        return torch.cat([scores_BV[:, :1], raised_BV], dim=1)

    def _regression(self, past_Bn: Events) -> tuple[Tensor, Tensor]:
        """Taste [B, F] and kindness [B]: what the past values say of a user, 0 without any."""
        items_Bn, values_Bn = past_Bn.items, standardised(past_Bn.values, self.config)
        rated_Bn = ~values_Bn.isnan()
        residual_Bn = (values_Bn - self.offset[items_Bn]).masked_fill(~rated_Bn, 0.0)
        kindness_B = residual_Bn.sum(1) / (rated_Bn.sum(1) + SHRINKAGE)
        residual_Bn = (residual_Bn - kindness_B[:, None]) * rated_Bn
        taste_BnF = self.taste[items_Bn] * rated_Bn[..., None]
        ridge_FF = self.log_ridge.exp() * torch.eye(taste_BnF.shape[2], device=values_Bn.device)
        gram_BFF = taste_BnF.mT @ taste_BnF + ridge_FF
        taste_BF1: Tensor = torch.linalg.solve(gram_BFF, taste_BnF.mT @ residual_Bn[..., None])
        return taste_BF1.squeeze(2), kindness_B


def joined(before: Events, after: Events) -> Events:
    """Two runs of the same rows as one."""
    return Events(
        torch.cat([before.items, after.items], 1),
        torch.cat([before.times, after.times], 1),
        torch.cat([before.values, after.values], 1),
    )

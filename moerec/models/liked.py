"""The second head: how likely is it that a user will like an item?

Letters: B users, n events of a past, V items, D width, F factors, G = 2 F + 2 width of a row.

Two factor analyses say what a user thinks of an item, one of the values and one of liked or not. The
user's side of both is computed from the past, never stored: it needs no user id, follows each new
value, and starts from what the encoder makes of the items alone. The logit of "liked" is

    a * (expected value - threshold) / noise of the item + b * the same for liked or not
        + how liked the item is in general + how easily the user is pleased

which is one inner product of a user's row and an item's. Everything is set after the network's training
(`moerec.training.liked`), nothing by its gradients: the network is that of a log without values.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.config import ModelConfig
from moerec.models.events import Events
from moerec.types import PADDING

RERANKED: Final = 200
"""So many of the best items of a list are put into a new order by how well they will be liked."""

SHRINKAGE: Final = 5.0
"""A user's habits are counted as if so many average events stood before theirs."""

HABITS: Final = 4
"""Numbers that say how a user hands out values: see `LikedHead.habits`."""


class Factors(nn.Module):
    """Factor analysis: the mark of user u for item i is mean_i + loadings_i . taste_u + noise.

    A taste is normal with variance 1 around what the user's vector lets expect. `means`, `loadings` and
    marks are in units of the item's noise, whose inverse is `precision`.
    """

    means: Tensor
    loadings: Tensor
    precision: Tensor
    expected: Tensor

    def __init__(self, items: int, dim: int, factors: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(items + 1))
        self.register_buffer("loadings", torch.zeros(items + 1, factors))
        self.register_buffer("precision", torch.ones(items + 1))
        self.register_buffer("expected", torch.zeros(dim + 1, factors))

    def tastes(self, items_Bn: Tensor, marks_Bn: Tensor, vectors_BD: Tensor) -> Tensor:
        """Posterior means [B, F]; a mark that is NaN is none, and so is one of an item that came later."""
        later_Bn = items_Bn >= len(self.means)
        items_Bn = items_Bn.masked_fill(later_Bn, PADDING)
        marked_Bn = ~(marks_Bn.isnan() | later_Bn)
        left_Bn = marks_Bn * self.precision[items_Bn] - self.means[items_Bn]
        left_Bn = left_Bn.masked_fill(~marked_Bn, 0.0)
        loadings_BnF = self.loadings[items_Bn] * marked_Bn[..., None]
        expected_BF = vectors_BD @ self.expected[:-1] + self.expected[-1]
        known_BF = (loadings_BnF.mT @ left_Bn[..., None]).squeeze(2) + expected_BF
        eye_FF = torch.eye(loadings_BnF.shape[2], device=marks_Bn.device)
        found_BF: Tensor = torch.linalg.solve(loadings_BnF.mT @ loadings_BnF + eye_FF, known_BF)
        return found_BF


class LikedHead(nn.Module):
    """Rows of users and items whose inner product is the logit of "liked"."""

    mix: Tensor
    item_bias: Tensor
    habit_weights: Tensor
    typical: Tensor
    base: Tensor
    weight: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.liked_from = config.liked_from
        self.values = Factors(config.items, config.dim, config.liked_factors)
        self.likes = Factors(config.items, config.dim, config.liked_factors)
        self.register_buffer("mix", torch.zeros(2))
        self.register_buffer("item_bias", torch.zeros(config.items + 1))
        self.register_buffer("habit_weights", torch.zeros(HABITS))
        # The log's mean value, mean square from it, and share that is liked.
        self.register_buffer("typical", torch.tensor([0.0, 1.0, 0.5]))
        self.register_buffer("base", torch.tensor(0.0))
        # How much a list minds it: set on validation, see training/calibrate.py.
        self.register_buffer("weight", torch.tensor(0.0))

    def user_rows(self, vectors_BD: Tensor, past_Bn: Events) -> Tensor:
        """[B, G] after the events `past_Bn`; `vectors_BD` are the encoder's, of length 1."""
        values_BF = self.values.tastes(past_Bn.items, past_Bn.values, vectors_BD)
        likes_BF = self.likes.tastes(past_Bn.items, self.marks(past_Bn.values), vectors_BD)
        constant_B1 = (self.habits(past_Bn) @ self.habit_weights + self.base)[:, None]
        return torch.cat(
            [
                self.mix[0] * values_BF,
                self.mix[1] * likes_BF,
                constant_B1,
                torch.ones_like(constant_B1),
            ],
            dim=1,
        )

    def item_rows(self, items: Tensor) -> Tensor:
        """[..., G] of the item indexes `items` [...]. One that came later is as the padding: nobody has
        said what they think of it."""
        items = items.masked_fill(items >= len(self.item_bias), PADDING)
        bias = self.item_bias[items][..., None]
        factors = [self.values.loadings[items], self.likes.loadings[items]]
        return torch.cat([*factors, torch.ones_like(bias), bias], dim=-1)

    def logits(self, users_BG: Tensor, items_BC: Tensor) -> Tensor:
        """[B, C] for candidates `items_BC`, item indexes."""
        return (self.item_rows(items_BC) @ users_BG[..., None]).squeeze(-1)

    def nobody(self) -> Tensor:
        """The row [G] of a user of whom nothing is known."""
        none_1n = torch.zeros(1, 0, dtype=torch.int64, device=self.base.device)
        past = Events(none_1n, none_1n, none_1n.float())
        dim = len(self.values.expected) - 1
        return self.user_rows(torch.zeros(1, dim, device=self.base.device), past)[0]

    def marks(self, values: Tensor) -> Tensor:
        """1 where a value is liked, 0 where not, NaN where there is none."""
        return (values >= self.liked_from).float().masked_fill(values.isnan(), torch.nan)

    def habits(self, past_Bn: Events) -> Tensor:
        """[B, 4]: mean value, its mean square from the log's mean, share liked, log of their number."""
        known_Bn = ~past_Bn.values.isnan()
        away_Bn = (past_Bn.values - self.typical[0]).masked_fill(~known_Bn, 0.0)
        liked_Bn = self.marks(past_Bn.values).masked_fill(~known_Bn, 0.0)
        count_B = known_Bn.sum(1)
        weight_B = count_B + SHRINKAGE
        return torch.stack(
            [
                away_Bn.sum(1) / weight_B,
                ((away_Bn**2).sum(1) + SHRINKAGE * self.typical[1]) / weight_B,
                (liked_Bn.sum(1) + SHRINKAGE * self.typical[2]) / weight_B,
                torch.log1p(count_B),
            ],
            dim=1,
        )

    def rerank(self, scores_BV: Tensor, users_BG: Tensor, temperature: float) -> Tensor:
        """The scores [B, V + 1], the best `RERANKED` ordered by score + weight * temperature * log P.

        P is the probability of "liked": with weight 1 the order is that of P(next) * P(liked). All of them
        are raised by what keeps the one that loses most where it was, so that the rest stays behind. An
        item of score -inf has left the list, and keeps it.
        """
        values_BC, places_BC = scores_BV[:, 1:].topk(min(RERANKED, scores_BV.shape[1] - 1), dim=1)
        items_BC = places_BC + 1
        bonus_BC = functional.logsigmoid(self.logits(users_BG, items_BC))
        # Where fewer are left, those that have left fill the places.
        least_B1 = bonus_BC.masked_fill(values_BC.isneginf(), torch.inf).amin(1, keepdim=True)
        bonus_BC = self.weight * temperature * (bonus_BC - least_B1)
        return scores_BV.scatter(1, items_BC, values_BC + bonus_BC)


def joined(before: Events, after: Events) -> Events:
    """Two runs of the same rows as one."""
    return Events(
        torch.cat([before.items, after.items], 1),
        torch.cat([before.times, after.times], 1),
        torch.cat([before.values, after.values], 1),
    )

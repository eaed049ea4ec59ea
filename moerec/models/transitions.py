"""What usually follows what: a sparse table of counts beside the network, mixed into its scores.

Letters: B users, V items, K neighbours of an item, R = 10 last items of a history.

On sparse logs a chain of counts beats most published networks, and the two err on different users.
The score of an item is

    temperature * log(exp(cosine / temperature) + weight * chance)

with `chance` = sum over the last R items j, newest first, of a_j * P(item | j), a_j falling by 0.8 a
step and summing to 1: the log of a mixture of the softmax and the chain, up to what all items share.
An item that is nobody's neighbour keeps its cosine, so the best of the nearest vectors and of at most
R * K neighbours are the best of the catalogue: retrieval stays exact without scanning it.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.types import PADDING

RECENCY_DECAY: Final = 0.8


class Transitions(nn.Module):
    """K neighbours of each item and how likely each comes next. Weight 0 switches the table off."""

    neighbors: Tensor
    chances: Tensor
    weight: Tensor

    def __init__(self, items: int, neighbors: int) -> None:
        super().__init__()
        # Buffers: counted before the training, never moved by a gradient. Unused places: item 0, chance 0.
        self.register_buffer("neighbors", torch.zeros(items + 1, neighbors, dtype=torch.int32))
        self.register_buffer("chances", torch.zeros(items + 1, neighbors))
        self.register_buffer("weight", torch.tensor(0.0))

    def chance(self, recent_BR: Tensor) -> Tensor:
        """How likely each item comes next, [B, V + 1]; `recent_BR` newest first, 0 where there is none.

        An item that came after the table was counted is as none.
        """
        recent_BR = recent_BR.masked_fill(recent_BR >= len(self.chances), PADDING)
        shares_BR = shares(recent_BR)
        columns_BRK = self.neighbors[recent_BR].long()
        chances_BRK = self.chances[recent_BR] * shares_BR[..., None]
        B = len(recent_BR)
        total_BV = torch.zeros(B, len(self.chances), device=recent_BR.device)
        return total_BV.scatter_add_(1, columns_BRK.view(B, -1), chances_BRK.view(B, -1))

    def mix(self, cosines_BV: Tensor, recent_BR: Tensor, temperature: float) -> Tensor:
        """The cosines [B, V + 1], those of later items behind them, raised where the table knows an item."""
        if self.weight == 0:
            return cosines_BV
        later = cosines_BV.shape[1] - len(self.chances)
        raised_BV = functional.pad(self.weight * self.chance(recent_BR), (0, later))
        odds_BV = torch.exp(cosines_BV / temperature) + raised_BV
        return temperature * torch.log(odds_BV)


def shares(recent_BR: Tensor) -> Tensor:
    """What each of the last items counts: 0.8^age where there is one, each row's sum 1."""
    age_R = torch.arange(recent_BR.shape[1], device=recent_BR.device)
    weights_BR = RECENCY_DECAY**age_R * (recent_BR != 0)
    return weights_BR / weights_BR.sum(1, keepdim=True).clamp(min=1e-9)

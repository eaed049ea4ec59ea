"""Shared negatives: half of them uniform, half by popularity, drawn with an explicit generator."""

import torch
from torch import Tensor


class NegativeSampler:
    """Draws M items a step, with repetition, from 0.5 * uniform + 0.5 * popularity^0.75."""

    def __init__(self, counts: Tensor, candidates: Tensor | None = None) -> None:
        """`counts` [V + 1]: training events of each item; the padding row is never drawn.

        `candidates` bool [V + 1] are the items that may be drawn, by default all.
        """
        smoothed = counts.to(torch.float64) ** 0.75
        uniform = torch.ones_like(smoothed)
        if candidates is not None:
            uniform = uniform * candidates
            smoothed = smoothed * candidates
        smoothed[0] = uniform[0] = 0.0
        self._probabilities = 0.5 * uniform / uniform.sum() + 0.5 * smoothed / smoothed.sum()

    def draw(self, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Item indexes [M], and the log of how often each is expected among M draws [M]."""
        items_M = torch.multinomial(
            self._probabilities, number, replacement=True, generator=generator
        )
        expected_M = number * self._probabilities[items_M]
        return items_M, expected_M.log().to(torch.float32)

"""The average of the weights over the last steps: what is validated, kept and served.

A moving average of the weights of one run does what an ensemble of its last epochs would, for the
price of one model (Izmailov et al. 2018, arXiv:1803.05407, as an exponential average).
"""

import copy

import torch

from moerec.models.recommender import MoERecommender


class AveragedWeights:
    """A second copy of `model` that follows it; `horizon` is how many steps it remembers, about.

    Buffers (balance bias, margin) are averaged like parameters: they belong to the same router.
    """

    def __init__(self, model: MoERecommender, horizon: int) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._follows = list(_floats(model))
        self._average = list(_floats(self.model))
        self._horizon = horizon

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the step of this number (from 0). Early steps are forgotten fast."""
        weight = max(1.0 / max(self._horizon, 1), 9.0 / (step + 10.0))
        torch._foreach_lerp_(self._average, self._follows, weight)


def _floats(model: MoERecommender) -> list[torch.Tensor]:
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]

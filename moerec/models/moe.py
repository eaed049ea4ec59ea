"""The sparse layer: route, run the chosen experts, add up; and the two controllers that keep it honest.

Letters: N tokens, D width, E experts.
"""

import torch
from torch import Tensor, nn

from moerec.models.config import ModelConfig
from moerec.models.experts import Experts
from moerec.models.router import Router, Routing, all_to_one


class MoELayer(nn.Module):
    """Mixture-of-Experts feed-forward layer over N tokens (padding has been taken out before).

    With one expert it is a plain feed-forward layer, without a router and at no more than its cost.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.router = None if config.is_dense else Router(config)
        self.experts = Experts(config.experts, config.dim, config.expert_dim)

    def forward(
        self,
        x_ND: Tensor,
        summary_ND: Tensor | None,
        masked_NE: Tensor | None = None,
        most_N: Tensor | None = None,
    ) -> tuple[Tensor, Routing]:
        """[N, D] -> [N, D], and the routing that led there; the limits are as in `Router`."""
        if self.router is None:
            return self.experts.run(0, x_ND), all_to_one(x_ND)
        routing = self.router(x_ND, summary_ND, masked_NE, most_N)
        return self.experts(x_ND, routing), routing

    @torch.no_grad()
    def steer(self, load_E: Tensor, tokens: int, rate: float) -> None:
        """After a training step: move bias and margin by what the whole batch's routing was.

        `load_E` are the tokens each expert got, `rate` the step of the balance bias. The bias goes
        up for experts below the mean load and down above it, its mean stays 0. The margin follows
        the mean number of experts a token woke, in steps small against a sigmoid's range. A dense
        layer has neither.
        """
        if self.router is None:
            return
        load = load_E.to(torch.float32)
        step = torch.sign(load.mean() - load)
        self.router.balance_bias += rate * (step - step.mean())
        excess = load.sum() / max(tokens, 1) - self.config.mean_experts
        self.router.margin -= (0.02 * excess).clamp(-0.02, 0.02)

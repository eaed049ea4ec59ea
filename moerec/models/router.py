"""Which experts wake for a token: the best two always, a third and a fourth if it is a close call.

Letters: N tokens, D width, E experts, K = max_experts slots.

The score of an expert is a sigmoid of the token *and* of a causal summary of its user's past, so two
users with the same last item may wake different experts. Selection adds a balance bias that training
moves so that every expert gets work (auxiliary-loss-free balancing, Wang et al. 2024,
arXiv:2408.15664); the gates use the scores alone. Slots beyond `min_experts` join where their
selection score is at most a margin behind the best one: a router that is undecided about a token wakes
more experts for it (as with the top-p routing of Huang et al. 2024, arXiv:2403.07652). Training steers
the margin to a mean number of experts (in the manner of the controller of DTop-p, arXiv:2512.13996);
at serving it is frozen: the choice for a token never depends on what else is in its batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moerec.models.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Routing:
    """The decision for N tokens. Inactive slots have gate 0."""

    experts_NK: Tensor
    gates_NK: Tensor
    active_NK: Tensor

    def load(self, experts: int) -> Tensor:
        """Tokens that each expert got, int64 [E]."""
        return torch.bincount(self.experts_NK[self.active_NK], minlength=experts)

    def awake(self, experts: int) -> Tensor:
        """Which experts run for which token, bool [N, E]."""
        awake_NE = torch.zeros(
            len(self.experts_NK), experts, dtype=torch.bool, device=self.experts_NK.device
        )
        return awake_NE.scatter(1, self.experts_NK, self.active_NK)


def all_to_one(x_ND: Tensor) -> Routing:
    """The decision that a dense layer has no need to make: expert 0, gate 1. Costs no memory."""
    shape, device = (len(x_ND), 1), x_ND.device
    return Routing(
        torch.zeros((), dtype=torch.long, device=device).expand(shape),
        torch.ones((), device=device).expand(shape),
        torch.ones((), dtype=torch.bool, device=device).expand(shape),
    )


class Router(nn.Module):
    """Chooses experts and their gates; runs none of them. Computes in float32 always."""

    balance_bias: Tensor
    margin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.from_token = nn.Linear(config.dim, config.experts, bias=False)
        self.from_summary = (
            nn.Linear(config.dim, config.experts, bias=False) if config.user_routing else None
        )
        # Buffers, not parameters: training moves them between steps, gradients never do.
        self.register_buffer("balance_bias", torch.zeros(config.experts))
        self.register_buffer("margin", torch.tensor(0.1))

    def forward(
        self,
        x_ND: Tensor,
        summary_ND: Tensor | None,
        masked_NE: Tensor | None = None,
        most_N: Tensor | None = None,
    ) -> Routing:
        """Route N tokens. `masked_NE` (bool, [N, E] or [E]) names experts that must not be chosen.

        `summary_ND` may be missing where the model does not route by it. At least `min_experts`
        experts of every token must stay unmasked. `most_N` are the most experts that each token may
        wake, from `min_experts` up; by default `max_experts`.
        """
        scores_NE = self.scores(x_ND, summary_ND)
        ranked_NK, experts_NK = self.rank(scores_NE, masked_NE)
        active_NK = behind_best(ranked_NK) <= self.margin
        active_NK[:, : self.config.min_experts] = True
        if most_N is not None:
            slot_K = torch.arange(self.config.max_experts, device=most_N.device)
            active_NK &= slot_K < most_N[:, None]
        chosen_NK = scores_NE.gather(1, experts_NK) * active_NK
        return Routing(experts_NK, chosen_NK / chosen_NK.sum(1, keepdim=True), active_NK)

    def scores(self, x_ND: Tensor, summary_ND: Tensor | None) -> Tensor:
        """How well each expert fits each token, in (0, 1), float32 [N, E]."""
        # Reduced precision would flip close choices: under autocast too, this is float32.
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NE = self.from_token(x_ND.float())
            if self.from_summary is not None and summary_ND is not None:
                logits_NE = logits_NE + self.from_summary(summary_ND.float())
        return torch.sigmoid(logits_NE)

    def rank(self, scores_NE: Tensor, masked_NE: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The K best of score + balance bias, best first: those sums and the experts, both [N, K]."""
        selection_NE = scores_NE.detach() + self.balance_bias
        if masked_NE is not None:
            selection_NE = selection_NE.masked_fill(masked_NE, float("-inf"))
        # A stable sort: equal scores go to the lower expert, on every device and in every batch.
        ranked_NE, order_NE = torch.sort(selection_NE, dim=1, descending=True, stable=True)
        slots = self.config.max_experts
        return ranked_NE[:, :slots], order_NE[:, :slots]


def behind_best(ranked_NK: Tensor) -> Tensor:
    """How far each of the ranked selection scores is behind the first of its row, from 0 up, [N, K]."""
    return ranked_NK[:, :1] - ranked_NK

"""Events in, hidden rows out: pre-norm blocks of window attention and sparse experts.

Letters: B histories, L positions, D width, N valid tokens of the batch, E experts.
"""

import torch
from torch import Tensor, nn

from moerec.models.attention import WindowAttention
from moerec.models.config import ModelConfig
from moerec.models.moe import MoELayer
from moerec.models.router import Routing


class Block(nn.Module):
    """x + attention(norm x), then x + experts(norm x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.attention = WindowAttention(config.dim, config.heads, config.window)
        self.moe_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.moe = MoELayer(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x_BLD: Tensor, times_BL: Tensor, summary_ND: Tensor, valid_BL: Tensor
    ) -> tuple[Tensor, Routing]:
        """`valid_BL` is true where there is an event; only those tokens are routed."""
        x_BLD = x_BLD + self.dropout(self.attention(self.attention_norm(x_BLD), times_BL))
        tokens_ND = x_BLD[valid_BL]
        out_ND, routing = self.moe(self.moe_norm(tokens_ND), summary_ND)
        x_BLD = x_BLD.masked_scatter(valid_BL[..., None], tokens_ND + self.dropout(out_ND))
        return x_BLD, routing


class Encoder(nn.Module):
    """A stack of blocks, conditioned on a causal summary of the user's past."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.decay = config.summary_decay
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.summary_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.output_norm = nn.RMSNorm(config.dim, eps=1e-6)
        # A map of its own between rows and item vectors: without it a fresh model's best guess for
        # the next item is the last one again, and training begins by unlearning that.
        self.output = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x_BLD: Tensor, times_BL: Tensor, valid_BL: Tensor, summary_BD: Tensor
    ) -> tuple[Tensor, list[Routing]]:
        """Hidden rows [B, L, D] and each layer's routing of the N valid tokens.

        `times_BL` int64 are the events' times, UTC ms. `summary_BD` is the summary before the first
        position (zeros for a fresh user).
        """
        summaries_BLD = self.summaries(x_BLD, summary_BD)
        summary_ND = self.summary_norm(summaries_BLD[valid_BL])
        x_BLD = self.dropout(x_BLD)
        routings = []
        for block in self.blocks:
            x_BLD, routing = block(x_BLD, times_BL, summary_ND, valid_BL)
            routings.append(routing)
        return self.output(self.output_norm(x_BLD)), routings

    def summaries(self, x_BLD: Tensor, start_BD: Tensor) -> Tensor:
        """u_t = decay * u_(t-1) + (1 - decay) * x_t for every position, [B, L, D]."""
        L = x_BLD.shape[1]
        place_L = torch.arange(L, device=x_BLD.device)
        age_LL = place_L[:, None] - place_L[None, :]
        weight_LL = (1 - self.decay) * self.decay ** age_LL.clamp(min=0) * (age_LL >= 0)
        carried_L = self.decay ** (place_L + 1.0)
        return weight_LL.to(x_BLD.dtype) @ x_BLD + carried_L[:, None] * start_BD[:, None]

    def last_summary(self, x_BPD: Tensor) -> Tensor:
        """The summary after P events that end each row (earlier places zero), [B, D]."""
        P = x_BPD.shape[1]
        age_P = torch.arange(P - 1, -1, -1, device=x_BPD.device)
        return torch.einsum(
            "p,bpd->bd", ((1 - self.decay) * self.decay**age_P).to(x_BPD.dtype), x_BPD
        )

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
    """x + g1(norm x) * attention(norm x), then x + g2(norm x) * experts(norm x).

    The gates g are sigmoids of a linear map, one for each coordinate (LiGR, Borisyuk et al. 2025,
    arXiv:2502.03417): a block can begin by passing its input on. Without `gated` they are 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.attention = WindowAttention(
            config.dim, config.heads, config.window, uses_time=bool(config.uses_time)
        )
        self.moe_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.moe = MoELayer(config)
        self.dropout = nn.Dropout(config.dropout)
        self.attention_gate = _gate(config.dim) if config.gated else None
        self.moe_gate = _gate(config.dim) if config.gated else None

    def forward(
        self,
        x_BLD: Tensor,
        times_BL: Tensor,
        summary_ND: Tensor | None,
        valid_BL: Tensor,
        masked_NE: Tensor | None = None,
        most_N: Tensor | None = None,
    ) -> tuple[Tensor, Routing]:
        """`valid_BL` is true where there is an event; only those tokens are routed."""
        normed_BLD = self.attention_norm(x_BLD)
        mixed_BLD = self.dropout(self.attention(normed_BLD, times_BL))
        x_BLD = x_BLD + _gated(self.attention_gate, normed_BLD, mixed_BLD)
        tokens_ND = x_BLD[valid_BL]
        normed_ND = self.moe_norm(tokens_ND)
        out_ND, routing = self.moe(normed_ND, summary_ND, masked_NE, most_N)
        out_ND = _gated(self.moe_gate, normed_ND, self.dropout(out_ND))
        return x_BLD.masked_scatter(
            valid_BL[..., None], (tokens_ND + out_ND).to(x_BLD.dtype)
        ), routing


def _gate(dim: int) -> nn.Linear:
    """Begins as the constant sigmoid(1) = 0.73, wide open but not saturated."""
    gate = nn.Linear(dim, dim)
    nn.init.zeros_(gate.weight)
    nn.init.ones_(gate.bias)
    return gate


def _gated(gate: nn.Linear | None, input_: Tensor, output: Tensor) -> Tensor:
    return output if gate is None else output * torch.sigmoid(gate(input_))


class Encoder(nn.Module):
    """A stack of blocks, conditioned on a causal summary of the user's past."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.decay = config.summary_decay
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.summary_norm = nn.RMSNorm(config.dim, eps=1e-6) if config.uses_summary else None
        self.output_norm = nn.RMSNorm(config.dim, eps=1e-6)
        # A map of its own between rows and item vectors: without it a fresh model's best guess for
        # the next item is the last one again, and training begins by unlearning that.
        self.output = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self,
        x_BLD: Tensor,
        times_BL: Tensor,
        valid_BL: Tensor,
        summary_BD: Tensor,
        masked: list[Tensor] | None = None,
        most_N: Tensor | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """Hidden rows [B, L, D] and each layer's routing of the N valid tokens.

        `times_BL` int64 are the events' times, UTC ms. `summary_BD` is the summary before the first
        position (zeros for a fresh user). `masked` names for each layer the experts that must not
        run, bool [N, E] or [E]; `most_N` how many of them a token may wake, in every layer.
        """
        summary_ND = None
        if self.summary_norm is not None:
            summary_ND = self.summary_norm(self.summaries(x_BLD, summary_BD)[valid_BL].float())
        x_BLD = self.dropout(x_BLD)
        routings = []
        for layer, block in enumerate(self.blocks):
            masked_NE = masked[layer] if masked else None
            x_BLD, routing = block(x_BLD, times_BL, summary_ND, valid_BL, masked_NE, most_N)
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

"""The experts: E small SwiGLU networks (Shazeer 2020, arXiv:2002.05202), each run on its own tokens.

Letters: N tokens, D width, E experts, K slots a token, S active slots in all, F hidden width.
Dropless: every active slot is computed, whatever the imbalance; a token's result does not depend on
its batch. Sorting the slots by expert and going from one expert to the next is the fastest of the ways
that were measured (`bench/expert_kernels.py`).
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from moerec.models.router import Routing

PIECE: Final = 256
"""Rows that go through a wide expert together when nothing keeps the hidden values: these then stay in the
processor's cache."""

CACHED: Final = 1 << 19
"""Up to so many hidden values an expert takes all rows at once: pieces would cost a copy for nothing."""


class Experts(nn.Module):
    """W2 (silu(W1 x) * W3 x) for each expert, weights of all experts in one tensor each."""

    def __init__(self, experts: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_up_EDG = nn.Parameter(torch.empty(experts, dim, 2 * hidden))
        self.down_EFD = nn.Parameter(torch.empty(experts, hidden, dim))
        for weight in (self.gate_up_EDG, self.down_EFD):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def forward(self, x_ND: Tensor, routing: Routing) -> Tensor:
        """Sum over the active slots of gate * expert(x), [N, D]; added up in the gates' float32."""
        slots_S, load = self._by_expert(routing)
        tokens_S = slots_S // routing.experts_NK.shape[1]
        rows = torch.split(x_ND[tokens_S], load)
        # Taken apart once: the gradient of an index is a tensor as large as all experts together.
        weights = zip(rows, self.gate_up_EDG.unbind(), self.down_EFD.unbind(), strict=True)
        parts = [swiglu(*of_expert) for of_expert in weights if len(of_expert[0])]
        weighted_SD = torch.cat(parts) * routing.gates_NK.reshape(-1)[slots_S, None]
        sums_ND = torch.zeros(x_ND.shape, dtype=weighted_SD.dtype, device=x_ND.device)
        return sums_ND.index_add(0, tokens_S, weighted_SD)

    def _by_expert(self, routing: Routing) -> tuple[Tensor, list[int]]:
        """The active slots (token * K + place), expert after expert, and how many each expert has."""
        expert_count = self.down_EFD.shape[0]
        experts_slots = routing.experts_NK.reshape(-1)
        active = routing.active_NK.reshape(-1).nonzero().squeeze(1)
        sorted_S, order = torch.sort(experts_slots[active], stable=True)
        load = torch.bincount(sorted_S, minlength=expert_count)
        return active[order], load.tolist()

    def run(self, expert: int, x_SD: Tensor) -> Tensor:
        """One expert on S rows, [S, D] -> [S, D]."""
        return swiglu(x_SD, self.gate_up_EDG[expert], self.down_EFD[expert])


def swiglu(x_SD: Tensor, gate_up_DG: Tensor, down_FD: Tensor) -> Tensor:
    """W2 (silu(W1 x) * W3 x) of S rows, [S, D] -> [S, D]; `gate_up_DG` is W1 beside W3, G = 2 F."""
    if torch.is_grad_enabled() or len(x_SD) * gate_up_DG.shape[1] <= CACHED:
        gate_SF, up_SF = (x_SD @ gate_up_DG).chunk(2, dim=1)
        return (functional.silu(gate_SF) * up_SF) @ down_FD
    parts = []
    for rows_PD in torch.split(x_SD, PIECE):
        gate_PF, up_PF = (rows_PD @ gate_up_DG).chunk(2, dim=1)
        parts.append(functional.silu(gate_PF, inplace=True).mul_(up_PF) @ down_FD)
    return torch.cat(parts)

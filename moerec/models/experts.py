"""The experts: E small SwiGLU networks (Shazeer 2020, arXiv:2002.05202), each run on its own tokens.

Letters: N tokens, D width, E experts, K slots a token, S active slots in all, F hidden width.
Dropless: every active slot is computed, whatever the imbalance; a token's result does not depend on
its batch. The slots are sorted by expert. Then a processor goes from one expert to the next, and a GPU does
all of them by one grouped product: the fastest ways that were measured (`bench/expert_kernels.py`).
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

ALIGNED: Final = 8
"""A grouped product wants rows of whole 16 bytes: widths that are multiples of this, in bfloat16."""


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
        slots_S, load_E = self._by_expert(routing)
        tokens_S = slots_S // routing.experts_NK.shape[1]
        compute = grouped if self._fits_groups(x_ND) else one_by_one
        out_SD = compute(x_ND[tokens_S], load_E, self.gate_up_EDG, self.down_EFD)
        weighted_SD = out_SD * routing.gates_NK.reshape(-1)[slots_S, None]
        sums_ND = torch.zeros(x_ND.shape, dtype=weighted_SD.dtype, device=x_ND.device)
        return sums_ND.index_add(0, tokens_S, weighted_SD)

    def _fits_groups(self, x_ND: Tensor) -> bool:
        aligned = all(width % ALIGNED == 0 for width in self.down_EFD.shape[1:])
        return x_ND.device.type == "cuda" and aligned

    def _by_expert(self, routing: Routing) -> tuple[Tensor, Tensor]:
        """The active slots (token * K + place), expert after expert, and how many each expert has."""
        expert_count = self.down_EFD.shape[0]
        experts_slots = routing.experts_NK.reshape(-1)
        active = routing.active_NK.reshape(-1).nonzero().squeeze(1)
        sorted_S, order = torch.sort(experts_slots[active], stable=True)
        return active[order], torch.bincount(sorted_S, minlength=expert_count)

    def run(self, expert: int, x_SD: Tensor) -> Tensor:
        """One expert on S rows, [S, D] -> [S, D]."""
        return swiglu(x_SD, self.gate_up_EDG[expert], self.down_EFD[expert])


def one_by_one(rows_SD: Tensor, load_E: Tensor, gate_up_EDG: Tensor, down_EFD: Tensor) -> Tensor:
    """Expert e on the next `load_E[e]` of the rows, [S, D] -> [S, D]."""
    rows = torch.split(rows_SD, load_E.tolist())
    # Taken apart once: the gradient of an index is a tensor as large as all experts together.
    weights = zip(rows, gate_up_EDG.unbind(), down_EFD.unbind(), strict=True)
    return torch.cat([swiglu(*of_expert) for of_expert in weights if len(of_expert[0])])


def grouped(rows_SD: Tensor, load_E: Tensor, gate_up_EDG: Tensor, down_EFD: Tensor) -> Tensor:
    """The same by torch's grouped product: few launches, and the processor need not know the loads."""
    kind = rows_SD.device.type
    reduced = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows_SD.dtype
    ends_E = load_E.cumsum(0).to(torch.int32)
    first_EDG, second_EFD = gate_up_EDG.to(reduced), down_EFD.to(reduced)
    inner_SG = functional.grouped_mm(rows_SD.to(reduced), first_EDG, offs=ends_E)
    gate_SF, up_SF = inner_SG.chunk(2, dim=1)
    return functional.grouped_mm(functional.silu(gate_SF) * up_SF, second_EFD, offs=ends_E)


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

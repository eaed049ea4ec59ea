"""The experts' branch of a block, for the rows of one layer.

Letters: N rows, B users, D width, n layers, E experts, F hidden width of an expert, M = E + D.
"""

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import (
    Floats,
    add_gated,
    linear,
    rms_norm,
    sigmoid,
    spliced,
)
from moerec.engine.kernels.packed import Mixture
from moerec.engine.kernels.rows import Limits, Rows


@spliced
def mixture(
    part: Mixture,
    layer: int,
    x_ND: Floats,
    by_summary_NM: Floats,
    out: Rows,
    limits: Limits,
    awake_BnE: NDArray[np.bool_],
) -> None:
    """x += gate(norm x) * experts(norm x) for the rows `out`, each by the experts it wakes.

    The limits of a user hold for all of its rows.
    """
    D, E, rows = x_ND.shape[1], part.balance_nE.shape[1], len(out.row_N)
    normed_ND = np.empty((rows + 1, D), np.float32)
    for place in range(rows):
        rms_norm(x_ND[out.row_N[place]], part.norm_nD[layer], normed_ND[place])
    router_gate_NM = np.empty((rows + 1, E + D), np.float32)
    linear(normed_ND, part.router_gate_nDM[layer], router_gate_NM, rows)
    gates_NE = np.zeros((rows, E), np.float32)
    for place in range(rows):
        summary_E = by_summary_NM[out.row_N[place], layer * E : (layer + 1) * E]
        user = out.user_N[place]
        masked_E, most = limits.masked_BnE[user, layer], limits.most_B[user]
        route(part, layer, router_gate_NM[place], summary_E, masked_E, most, gates_NE[place])
        if place + 1 == rows or out.user_N[place + 1] != user:
            for expert in range(E):
                awake_BnE[user, layer, expert] = gates_NE[place, expert] > 0
    sums_ND = np.zeros((rows, D), np.float32)
    run_experts(part, layer, normed_ND, gates_NE, sums_ND)
    for place in range(rows):
        gate_D, bias_D = router_gate_NM[place, E:], part.gate_nD[layer]
        add_gated(x_ND[out.row_N[place]], sums_ND[place], gate_D, bias_D, part.gated)


@spliced
def route(
    part: Mixture,
    layer: int,
    logits_E: Floats,
    summary_E: Floats,
    masked_E: NDArray[np.bool_],
    most: int,
    gates_E: Floats,
) -> None:
    """The gates of one row, 0 for experts that sleep; as `moerec.models.router.Router`."""
    E = len(gates_E)
    if E == 1:
        gates_E[0] = np.float32(1.0)
        return
    scores_E = np.empty(E, np.float32)
    selection_E = np.empty(E, np.float32)
    for expert in range(E):
        scores_E[expert] = sigmoid(logits_E[expert] + summary_E[expert])
        selection_E[expert] = scores_E[expert] + part.balance_nE[layer, expert]
        if masked_E[expert]:
            selection_E[expert] = -np.inf
    total, best = np.float32(0.0), np.float32(0.0)
    for slot in range(min(part.max_experts, most)):
        chosen = 0
        for expert in range(1, E):
            # The lower one of equals.
            if selection_E[expert] > selection_E[chosen]:
                chosen = expert
        if slot == 0:
            best = selection_E[chosen]
        if slot >= part.min_experts and best - selection_E[chosen] > part.margin_n[layer]:
            break
        gates_E[chosen] = scores_E[chosen]
        total += scores_E[chosen]
        selection_E[chosen] = -np.inf
    for expert in range(E):
        gates_E[expert] /= total


@spliced
def run_experts(
    part: Mixture, layer: int, normed_ND: Floats, gates_NE: Floats, sums_ND: Floats
) -> None:
    """sums += gate * expert(row), expert after expert, each on the rows that woke it."""
    rows, D = sums_ND.shape
    F = part.down_nEFD.shape[2]
    mine_N = np.empty(rows, np.int64)
    x_ND = np.empty((rows + 1, D), np.float32)
    gate_up_NG = np.empty((rows + 1, 2 * F), np.float32)
    hidden_NF = np.empty((rows + 1, F), np.float32)
    for expert in range(gates_NE.shape[1]):
        load = 0
        for row in range(rows):
            if gates_NE[row, expert] > 0:
                mine_N[load] = row
                x_ND[load] = normed_ND[row]
                load += 1
        if load == 0:
            continue
        linear(x_ND, part.gate_up_nEDG[layer, expert], gate_up_NG, load)
        for place in range(load):
            for unit in range(F):
                gate = gate_up_NG[place, unit]
                hidden_NF[place, unit] = gate * sigmoid(gate) * gate_up_NG[place, F + unit]
        linear(hidden_NF, part.down_nEFD[layer, expert], x_ND, load)
        for place in range(load):
            gate, sums_D = gates_NE[mine_N[place], expert], sums_ND[mine_N[place]]
            for column in range(D):
                sums_D[column] += gate * x_ND[place, column]

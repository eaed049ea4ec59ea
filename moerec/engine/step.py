"""The encoder over new events of many users, compiled: what is older stands in the arena.

Letters: N rows (one for each new event, user after user), B users, D width, n layers, E experts,
K slots a row, F hidden width of an expert, H heads, C = D / H, W window, S slots of the arena, P >= W
places of a user's ring.

A user's event number p stands at place p % P of the ring, in the place of one that nobody sees any more.
Rows go in one after the other, and each looks at the ring as it is then: a history that comes at once and
one that comes event by event are worked alike.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels import (
    Floats,
    Ints,
    age_bucket,
    blend,
    compiled,
    linear,
    look,
    rms_norm,
    sigmoid,
    softmax,
    spliced,
)
from moerec.engine.packed import Packed
from moerec.models.config import ModelConfig


class Arena(NamedTuple):
    """What is kept of S users.

    * `keys_SnDP`, `values_SnPD`: of the newest P events, by layer. Keys stand upright, so that a query meets
      all of them a coordinate at a time;
    * `times_SP`: when those events were, UTC ms;
    * `summary_SD`: the router's summary after the newest event;
    * `count_S`: events so far, those left out of a rebuild not counted. 0 is a free or a fresh slot.
    """

    keys_SnDP: Floats
    values_SnPD: Floats
    times_SP: Ints
    summary_SD: Floats
    count_S: Ints


def new_arena(config: ModelConfig, slots: int) -> Arena:
    """An arena for so many users, all slots fresh. Memory that no user has filled is not taken yet."""
    P = -(-config.window // 8) * 8
    return Arena(
        np.zeros((slots, config.layers, config.dim, P), np.float32),
        np.zeros((slots, config.layers, P, config.dim), np.float32),
        np.zeros((slots, P), np.int64),
        np.zeros((slots, config.dim), np.float32),
        np.zeros(slots, np.int64),
    )


class NewEvents(NamedTuple):
    """New events of B users, each at least one, oldest first, user after user.

    User b has `items_N[starts_B[b]:ends_B[b]]` and slot `slots_B[b]`; the first `skip_B[b]` of them
    feed the router's summary alone, and only where the slot is fresh.
    """

    items_N: Ints
    times_N: Ints
    starts_B: Ints
    ends_B: Ints
    skip_B: Ints
    slots_B: Ints


class Rows(NamedTuple):
    """Which row of which user: for the layer at hand, the rows that are worked on, in order."""

    row_N: Ints
    user_N: Ints


@compiled
def advance(
    packed: Packed,
    arena: Arena,
    vectors_VD: Floats,
    new: NewEvents,
    hidden_BD: Floats,
    awake_BnE: NDArray[np.bool_],
) -> None:
    """Takes the new events into the arena, and writes each user's newest row.

    `hidden_BD` gets the user vectors, of length 1; `awake_BnE` the experts of the newest event.
    `vectors_VD` are the model's item vectors.
    """
    N, users = len(new.items_N), len(new.starts_B)
    layers, W = packed.distance_nHW.shape[0], packed.distance_nHW.shape[2]
    D, E = packed.final_DD.shape[0], packed.balance_nE.shape[1]
    x_ND = np.empty((N, D), np.float32)
    summary_ND = np.empty((N + 1, D), np.float32)
    embed(packed, arena, vectors_VD, new, x_ND, summary_ND)
    by_summary_NM = np.zeros((N + 1, layers * E), np.float32)
    if packed.uses_summary:
        linear(summary_ND, packed.summary_router_DM, by_summary_NM, N)
    for layer in range(layers):
        above = layers - 1 - layer
        # The newest row alone leaves the last layer; the one before it owes W rows to the ring, and so on.
        out = newest_rows(new, 1 if above == 0 else W + (above - 1) * (W - 1))
        read = newest_rows(new, W + above * (W - 1))
        attention(packed, arena, new, layer, x_ND, read, out)
        mixture(packed, layer, x_ND, by_summary_NM, out, awake_BnE)
    for user in range(users):
        slot = new.slots_B[user]
        arena.count_S[slot] += new.ends_B[user] - new.starts_B[user] - new.skip_B[user]
    finish(packed, new, x_ND, hidden_BD)


@compiled
def newest_rows(new: NewEvents, most: int) -> Rows:
    """The newest `most` rows of each user, at most those that are not skipped."""
    total = 0
    for user in range(len(new.starts_B)):
        total += min(most, new.ends_B[user] - new.starts_B[user] - new.skip_B[user])
    row_N, user_N = np.empty(total, np.int64), np.empty(total, np.int64)
    place = 0
    for user in range(len(new.starts_B)):
        end = new.ends_B[user]
        for row in range(max(new.starts_B[user] + new.skip_B[user], end - most), end):
            row_N[place], user_N[place] = row, user
            place += 1
    return Rows(row_N, user_N)


@spliced
def embed(
    packed: Packed,
    arena: Arena,
    vectors_VD: Floats,
    new: NewEvents,
    x_ND: Floats,
    summary_ND: Floats,
) -> None:
    """Item vectors of about 1 a coordinate; the normed summary up to each event; the arena's goes on."""
    D = x_ND.shape[1]
    scale = np.sqrt(np.float32(D))
    kept, added = packed.decay, np.float32(1.0) - packed.decay
    for user in range(len(new.starts_B)):
        summary_D = arena.summary_SD[new.slots_B[user]]
        if arena.count_S[new.slots_B[user]] == 0:
            summary_D[:] = np.float32(0.0)
        for row in range(new.starts_B[user], new.ends_B[user]):
            vector_D, x_D = vectors_VD[new.items_N[row]], x_ND[row]
            for place in range(D):
                x_D[place] = vector_D[place] * scale
                summary_D[place] = kept * summary_D[place] + added * x_D[place]
            rms_norm(summary_D, packed.summary_norm_D, summary_ND[row])


@spliced
def attention(
    packed: Packed,
    arena: Arena,
    new: NewEvents,
    layer: int,
    x_ND: Floats,
    read: Rows,
    out: Rows,
) -> None:
    """x += gate(norm x) * attention(norm x) for the rows `out`; the rows `read` are its new keys."""
    D = x_ND.shape[1]
    normed_ND = np.empty((len(read.row_N) + 1, D), np.float32)
    fresh_NM = np.empty((len(read.row_N) + 1, 2 * D), np.float32)
    for place in range(len(read.row_N)):
        rms_norm(x_ND[read.row_N[place]], packed.attention_norm_nD[layer], normed_ND[place])
    linear(normed_ND, packed.key_value_nDM[layer], fresh_NM, len(read.row_N))
    for place in range(len(out.row_N)):
        rms_norm(x_ND[out.row_N[place]], packed.attention_norm_nD[layer], normed_ND[place])
    query_gate_NM = np.empty((len(out.row_N) + 1, 2 * D), np.float32)
    linear(normed_ND, packed.query_gate_nDM[layer], query_gate_NM, len(out.row_N))
    mixed_ND = np.empty((len(out.row_N) + 1, D), np.float32)
    weights_HP = np.empty((packed.distance_nHW.shape[1], arena.times_SP.shape[1]), np.float32)
    at = 0
    for place in range(len(read.row_N)):
        row, user = read.row_N[place], read.user_N[place]
        slot = new.slots_B[user]
        position = arena.count_S[slot] + row - new.starts_B[user] - new.skip_B[user]
        remember(arena, slot, layer, position, fresh_NM[place], new.times_N[row])
        if at < len(out.row_N) and out.row_N[at] == row:
            attend(
                packed, arena, slot, layer, position, query_gate_NM[at], weights_HP, mixed_ND[at]
            )
            at += 1
    output_ND = normed_ND
    linear(mixed_ND, packed.output_nDD[layer], output_ND, len(out.row_N))
    for place in range(len(out.row_N)):
        x_D, output_D = x_ND[out.row_N[place]], output_ND[place]
        gate_D, bias_D = query_gate_NM[place, D:], packed.attention_gate_nD[layer]
        add_gated(x_D, output_D, gate_D, bias_D, packed.gated)


@spliced
def remember(
    arena: Arena, slot: int, layer: int, position: int, key_value_M: Floats, time_ms: int
) -> None:
    """One event's key and value into the ring."""
    place = position % arena.times_SP.shape[1]
    keys_DP, value_D = arena.keys_SnDP[slot, layer], arena.values_SnPD[slot, layer, place]
    D = len(value_D)
    for column in range(D):
        keys_DP[column, place] = key_value_M[column]
        value_D[column] = key_value_M[D + column]
    arena.times_SP[slot, place] = time_ms


@spliced
def attend(
    packed: Packed,
    arena: Arena,
    slot: int,
    layer: int,
    position: int,
    query_D: Floats,
    weights_HP: Floats,
    mixed_D: Floats,
) -> None:
    """Softmax attention of the ring's newest event over the last W. D / H and P are multiples of 4."""
    H, P = weights_HP.shape
    D = len(mixed_D)
    C = D // H
    look(query_D, arena.keys_SnDP[slot, layer], weights_HP)
    scale = np.float32(1.0) / np.sqrt(np.float32(C))
    times_P, newest = arena.times_SP[slot], position % P
    for place in range(P):
        distance = newest - place if place <= newest else newest - place + P
        seen = distance <= position and distance < packed.distance_nHW.shape[2]
        bucket = age_bucket(times_P[newest] - times_P[place]) if seen and packed.uses_time else 0
        for head in range(H):
            if not seen:
                weights_HP[head, place] = -np.inf
                continue
            bias = packed.distance_nHW[layer, head, distance]
            if packed.uses_time:
                bias += packed.age_nHT[layer, head, bucket]
            weights_HP[head, place] = weights_HP[head, place] * scale + bias
    for head in range(H):
        softmax(weights_HP[head])
    blend(weights_HP, arena.values_SnPD[slot, layer], mixed_D)


@spliced
def mixture(
    packed: Packed,
    layer: int,
    x_ND: Floats,
    by_summary_NM: Floats,
    out: Rows,
    awake_BnE: NDArray[np.bool_],
) -> None:
    """x += gate(norm x) * experts(norm x) for the rows `out`, each by the experts it wakes."""
    D, E, rows = x_ND.shape[1], packed.balance_nE.shape[1], len(out.row_N)
    normed_ND = np.empty((rows + 1, D), np.float32)
    for place in range(rows):
        rms_norm(x_ND[out.row_N[place]], packed.moe_norm_nD[layer], normed_ND[place])
    router_gate_NM = np.empty((rows + 1, E + D), np.float32)
    linear(normed_ND, packed.router_gate_nDM[layer], router_gate_NM, rows)
    gates_NE = np.zeros((rows, E), np.float32)
    for place in range(rows):
        summary_E = by_summary_NM[out.row_N[place], layer * E : (layer + 1) * E]
        route(packed, layer, router_gate_NM[place], summary_E, gates_NE[place])
        if place + 1 == rows or out.user_N[place + 1] != out.user_N[place]:
            for expert in range(E):
                awake_BnE[out.user_N[place], layer, expert] = gates_NE[place, expert] > 0
    sums_ND = np.zeros((rows, D), np.float32)
    run_experts(packed, layer, normed_ND, gates_NE, sums_ND)
    for place in range(rows):
        gate_D, bias_D = router_gate_NM[place, E:], packed.moe_gate_nD[layer]
        add_gated(x_ND[out.row_N[place]], sums_ND[place], gate_D, bias_D, packed.gated)


@spliced
def route(packed: Packed, layer: int, logits_E: Floats, summary_E: Floats, gates_E: Floats) -> None:
    """The gates of one row, 0 for experts that sleep; as `moerec.models.router.Router`."""
    E = len(gates_E)
    if E == 1:
        gates_E[0] = np.float32(1.0)
        return
    scores_E = np.empty(E, np.float32)
    selection_E = np.empty(E, np.float32)
    for expert in range(E):
        scores_E[expert] = sigmoid(logits_E[expert] + summary_E[expert])
        selection_E[expert] = scores_E[expert] + packed.balance_nE[layer, expert]
    total, best = np.float32(0.0), np.float32(0.0)
    for slot in range(packed.max_experts):
        chosen = 0
        for expert in range(1, E):
            # The lower one of equals.
            if selection_E[expert] > selection_E[chosen]:
                chosen = expert
        if slot == 0:
            best = selection_E[chosen]
        if slot >= packed.min_experts and best - selection_E[chosen] > packed.margin_n[layer]:
            break
        gates_E[chosen] = scores_E[chosen]
        total += scores_E[chosen]
        selection_E[chosen] = -np.inf
    for expert in range(E):
        gates_E[expert] /= total


@spliced
def run_experts(
    packed: Packed, layer: int, normed_ND: Floats, gates_NE: Floats, sums_ND: Floats
) -> None:
    """sums += gate * expert(row), expert after expert, each on the rows that woke it."""
    rows, D = sums_ND.shape
    F = packed.down_nEFD.shape[2]
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
        linear(x_ND, packed.gate_up_nEDG[layer, expert], gate_up_NG, load)
        for place in range(load):
            for unit in range(F):
                gate = gate_up_NG[place, unit]
                hidden_NF[place, unit] = gate * sigmoid(gate) * gate_up_NG[place, F + unit]
        linear(hidden_NF, packed.down_nEFD[layer, expert], x_ND, load)
        for place in range(load):
            gate, sums_D = gates_NE[mine_N[place], expert], sums_ND[mine_N[place]]
            for column in range(D):
                sums_D[column] += gate * x_ND[place, column]


@compiled
def add_gated(x_D: Floats, branch_D: Floats, gate_D: Floats, bias_D: Floats, gated: bool) -> None:
    """x += sigmoid(gate + bias) * branch, or without the gate."""
    if gated:
        for place in range(len(x_D)):
            x_D[place] += sigmoid(gate_D[place] + bias_D[place]) * branch_D[place]
    else:
        for place in range(len(x_D)):
            x_D[place] += branch_D[place]


@spliced
def finish(packed: Packed, new: NewEvents, x_ND: Floats, hidden_BD: Floats) -> None:
    """The newest row of each user, normed, mapped, and brought to length 1."""
    users, D = hidden_BD.shape
    normed_BD = np.empty((users + 1, D), np.float32)
    out_BD = np.empty((users + 1, D), np.float32)
    for user in range(users):
        rms_norm(x_ND[new.ends_B[user] - 1], packed.final_norm_D, normed_BD[user])
    linear(normed_BD, packed.final_DD, out_BD, users)
    for user in range(users):
        squares = np.float32(0.0)
        for place in range(D):
            squares += out_BD[user, place] * out_BD[user, place]
        length = max(np.sqrt(squares), np.float32(1e-12))
        for place in range(D):
            hidden_BD[user, place] = out_BD[user, place] / length

"""The attention branch of a block, for the rows of one layer.

Letters: N rows, D width, n layers, H heads, C = D / H, W window, S slots of the arena, P places of a ring.
"""

import numpy as np

from moerec.engine.kernels.arithmetic import (
    Floats,
    add_gated,
    age_bucket,
    blend,
    linear,
    look,
    rms_norm,
    softmax,
    spliced,
    store,
)
from moerec.engine.kernels.packed import Attention
from moerec.engine.kernels.rows import Arena, NewEvents, Rows


@spliced
def attention(
    part: Attention,
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
        rms_norm(x_ND[read.row_N[place]], part.norm_nD[layer], normed_ND[place])
    linear(normed_ND, part.key_value_nDM[layer], fresh_NM, len(read.row_N))
    for place in range(len(out.row_N)):
        rms_norm(x_ND[out.row_N[place]], part.norm_nD[layer], normed_ND[place])
    query_gate_NM = np.empty((len(out.row_N) + 1, 2 * D), np.float32)
    linear(normed_ND, part.query_gate_nDM[layer], query_gate_NM, len(out.row_N))
    mixed_ND = np.empty((len(out.row_N) + 1, D), np.float32)
    weights_HP = np.empty(part.distance_nHP.shape[1:], np.float32)
    at = 0
    for place in range(len(read.row_N)):
        row, user = read.row_N[place], read.user_N[place]
        slot, first = new.slots_B[user], new.starts_B[user] + new.skip_B[user]
        remember(arena, slot, layer, arena.count_S[slot] + row - first, fresh_NM[place])
        if at < len(out.row_N) and out.row_N[at] == row:
            query_D, mixed_D = query_gate_NM[at], mixed_ND[at]
            attend(part, arena, new, layer, slot, row, first, query_D, weights_HP, mixed_D)
            at += 1
    output_ND = normed_ND
    linear(mixed_ND, part.output_nDD[layer], output_ND, len(out.row_N))
    for place in range(len(out.row_N)):
        x_D, output_D = x_ND[out.row_N[place]], output_ND[place]
        gate_D, bias_D = query_gate_NM[place, D:], part.gate_nD[layer]
        add_gated(x_D, output_D, gate_D, bias_D, part.gated)


@spliced
def remember(arena: Arena, slot: int, layer: int, position: int, key_value_M: Floats) -> None:
    """One event's key and value into the ring."""
    place = position % arena.times_SP.shape[1]
    D = len(key_value_M) // 2
    arena.key_scales_SnP[slot, layer, place] = store(
        key_value_M[:D], arena.keys_SnDP[slot, layer, :, place]
    )
    arena.value_scales_SnP[slot, layer, place] = store(
        key_value_M[D:], arena.values_SnPD[slot, layer, place]
    )


@spliced
def attend(
    part: Attention,
    arena: Arena,
    new: NewEvents,
    layer: int,
    slot: int,
    row: int,
    first: int,
    query_D: Floats,
    weights_HP: Floats,
    mixed_D: Floats,
) -> None:
    """Softmax attention of a row, the newest of the ring, over the last W events.

    `first` is its user's first row. D / H and P are multiples of 4.
    """
    H, P = weights_HP.shape
    D = len(mixed_D)
    C = D // H
    position = arena.count_S[slot] + row - first
    newest = position % P
    # A short history leaves most of the ring empty; eight places at a time are looked at.
    filled = min((position // 8 + 1) * 8, P)
    look(query_D, arena.keys_SnDP[slot, layer], weights_HP, filled)
    scales_P = arena.key_scales_SnP[slot, layer]
    scale = np.float32(1.0) / np.sqrt(np.float32(C))
    for head in range(H):
        weights_P, bias_P = weights_HP[head], part.distance_nHP[layer, head]
        for place in range(filled):
            weights_P[place] *= scale * scales_P[place]
        for place in range(newest + 1):
            weights_P[place] += bias_P[newest - place]
        for place in range(newest + 1, filled):
            # The places behind the newest are the oldest, or were never filled.
            biased = weights_P[place] + bias_P[newest - place + P]
            weights_P[place] = biased if position >= P else np.float32(-np.inf)
    if part.uses_time:
        add_ages(part, arena, new, layer, slot, row, first, weights_HP, filled)
    scales_P = arena.value_scales_SnP[slot, layer]
    for head in range(H):
        softmax(weights_HP[head, :filled])
        for place in range(filled):
            weights_HP[head, place] *= scales_P[place]
    blend(weights_HP, arena.values_SnPD[slot, layer], mixed_D, filled)


@spliced
def add_ages(
    part: Attention,
    arena: Arena,
    new: NewEvents,
    layer: int,
    slot: int,
    row: int,
    first: int,
    weights_HP: Floats,
    filled: int,
) -> None:
    """weights += the bias for how long before the row each event of the first `filled` places was."""
    H, P = weights_HP.shape
    newest = (arena.count_S[slot] + row - first) % P
    buckets_P = np.empty(filled, np.int64)
    for place in range(filled):
        distance = newest - place if place <= newest else newest - place + P
        # The ring has the times of those who came before all of these rows.
        is_new = distance <= row - first
        then = new.times_N[row - distance] if is_new else arena.times_SP[slot, place]
        buckets_P[place] = age_bucket(new.times_N[row] - then)
    for head in range(H):
        for place in range(filled):
            weights_HP[head, place] += part.age_nHT[layer, head, buckets_P[place]]

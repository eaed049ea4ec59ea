"""The encoder over new events of many users, compiled: what is older stands in the arena.

Letters: N new events, user after user, B users, D width, n layers, E experts, V items, W window.
"""

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, compiled, linear, rms_norm, spliced
from moerec.engine.kernels.attention import attention
from moerec.engine.kernels.mixture import mixture
from moerec.engine.kernels.packed import Packed
from moerec.engine.kernels.rows import Arena, Limits, NewEvents, newest_rows


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
    N = len(new.items_N)
    layers, W = len(packed.attention.norm_nD), packed.attention.window
    D, E = packed.output_DD.shape[0], packed.mixture.balance_nE.shape[1]
    x_ND = np.empty((N, D), np.float32)
    summary_ND = np.empty((N + 1, D), np.float32)
    embed(packed, arena, vectors_VD, new, x_ND, summary_ND)
    by_summary_NM = np.zeros((N + 1, layers * E), np.float32)
    if packed.summary.used:
        linear(summary_ND, packed.summary.router_DM, by_summary_NM, N)
    # What is committed knows no limits: the model's own routing, whatever the load.
    free = Limits(np.zeros((len(new.starts_B), layers, E), np.bool_), np.full(len(new.starts_B), E))
    for layer in range(layers):
        above = layers - 1 - layer
        # The newest row alone leaves the last layer; the one before it owes W rows to the ring, and so on.
        out = newest_rows(new, 1 if above == 0 else W + (above - 1) * (W - 1))
        read = newest_rows(new, W + above * (W - 1))
        attention(packed.attention, arena, new, layer, x_ND, read, out)
        mixture(packed.mixture, layer, x_ND, by_summary_NM, out, free, awake_BnE)
    count(arena, new)
    finish(packed, new, x_ND, hidden_BD)


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
    kept, added = packed.summary.decay, np.float32(1.0) - packed.summary.decay
    for user in range(len(new.starts_B)):
        summary_D = arena.summary_SD[new.slots_B[user]]
        for row in range(new.starts_B[user], new.ends_B[user]):
            vector_D, x_D = vectors_VD[new.items_N[row]], x_ND[row]
            for place in range(D):
                x_D[place] = vector_D[place] * scale
                summary_D[place] = kept * summary_D[place] + added * x_D[place]
            rms_norm(summary_D, packed.summary.norm_D, summary_ND[row])


@spliced
def count(arena: Arena, new: NewEvents) -> None:
    """The new events are old: their times go into the ring."""
    P = arena.times_SP.shape[1]
    for user in range(len(new.starts_B)):
        slot, first = new.slots_B[user], new.starts_B[user] + new.skip_B[user]
        for row in range(max(first, new.ends_B[user] - P), new.ends_B[user]):
            arena.times_SP[slot, (arena.count_S[slot] + row - first) % P] = new.times_N[row]
        arena.count_S[slot] += new.ends_B[user] - first


@spliced
def finish(packed: Packed, new: NewEvents, x_ND: Floats, hidden_BD: Floats) -> None:
    """The newest row of each user, normed, mapped, and brought to length 1."""
    users, D = hidden_BD.shape
    normed_BD = np.empty((users + 1, D), np.float32)
    out_BD = np.empty((users + 1, D), np.float32)
    for user in range(users):
        rms_norm(x_ND[new.ends_B[user] - 1], packed.norm_D, normed_BD[user])
    linear(normed_BD, packed.output_DD, out_BD, users)
    for user in range(users):
        squares = np.float32(0.0)
        for place in range(D):
            squares += out_BD[user, place] * out_BD[user, place]
        length = max(np.sqrt(squares), np.float32(1e-12))
        for place in range(D):
            hidden_BD[user, place] = out_BD[user, place] / length

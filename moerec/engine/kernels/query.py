"""Query rows: the newest event of some users, worked out once more under limits, compiled.

It goes through the code of `step.py`, on a copy of what the arena keeps of these users: a row that load or a
mask has changed cannot become a part of anybody's state.

Letters: B users, D width, n layers, E experts, W window.
"""

import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.arithmetic import Floats, Ints, compiled, linear, rms_norm, spliced
from moerec.engine.kernels.attention import attention
from moerec.engine.kernels.mixture import mixture
from moerec.engine.kernels.packed import Packed
from moerec.engine.kernels.rows import Arena, Limits, NewEvents, newest_rows
from moerec.engine.kernels.step import finish


@compiled
def query(
    packed: Packed,
    arena: Arena,
    vectors_VD: Floats,
    newest: NewEvents,
    limits: Limits,
    hidden_BD: Floats,
    awake_BnE: NDArray[np.bool_],
) -> None:
    """Writes each user's newest row under its limits: what `advance` writes, where they change nothing.

    `newest` is the one newest event of each user, which `advance` has taken into the arena; user b's slot is
    that of the arena, whose copy here is slot b.
    """
    B, D = hidden_BD.shape
    layers, E = len(packed.attention.norm_nD), packed.mixture.balance_nE.shape[1]
    x_BD = np.empty((B, D), np.float32)
    summary_BD = np.empty((B + 1, D), np.float32)
    scale = np.sqrt(np.float32(D))
    for user in range(B):
        vector_D, x_D = vectors_VD[newest.items_N[user]], x_BD[user]
        for place in range(D):
            x_D[place] = vector_D[place] * scale
        rms_norm(arena.summary_SD[newest.slots_B[user]], packed.summary.norm_D, summary_BD[user])
    by_summary_BM = np.zeros((B + 1, layers * E), np.float32)
    if packed.summary.used:
        linear(summary_BD, packed.summary.router_DM, by_summary_BM, B)
    before = before_newest(arena, newest.slots_B)
    event = NewEvents(
        newest.items_N,
        newest.times_N,
        newest.starts_B,
        newest.ends_B,
        newest.skip_B,
        np.arange(B),
    )
    rows = newest_rows(event, 1)
    for layer in range(layers):
        attention(packed.attention, before, event, layer, x_BD, rows, rows)
        mixture(packed.mixture, layer, x_BD, by_summary_BM, rows, limits, awake_BnE)
    finish(packed, event, x_BD, hidden_BD)


@spliced
def before_newest(arena: Arena, slots_B: Ints) -> Arena:
    """A copy of these slots as they stood before their newest event, but for the summary, which is not read.

    The newest event's key and value are in it still: they are written anew before anything looks at them.
    """
    return Arena(
        arena.keys_SnDP[slots_B],
        arena.values_SnPD[slots_B],
        arena.key_scales_SnP[slots_B],
        arena.value_scales_SnP[slots_B],
        arena.times_SP[slots_B],
        arena.summary_SD[slots_B],
        arena.count_S[slots_B] - 1,
    )

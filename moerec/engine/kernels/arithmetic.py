"""The encoder's arithmetic for few rows at a time, compiled: numba, one thread, float32.

Letters: N rows, D width, M outputs, H heads, C = D / H, P places of a user's ring. A row's result is worked
out in the same order whatever rows stand beside it, so that no answer depends on its batch.
`moerec.models` is the reference: it always runs, and these always agree.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from moerec.engine.kernels.kept import config, folder
from moerec.models.attention import TIME_BUCKETS

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

EPSILON: Final = np.float32(1e-6)
"""Of the norms, as in `moerec.models.encoder`."""


def compiled(function: _Function) -> _Function:
    """Machine code at the first call, kept on disk for the next process where there is a place for it."""
    # Sums may be split over vector lanes and fused: in the same way for every row.
    loose = {"reassoc", "contract", "nsz"}
    place, given = folder(), config.CACHE_DIR
    make = numba.njit(nogil=True, cache=place is not None, fastmath=loose, error_model="numpy")
    try:
        config.CACHE_DIR = given if place is None else str(place)
        return cast(_Function, make(function))
    finally:
        config.CACHE_DIR = given


def spliced(function: _Function) -> _Function:
    """Compiled as a part of its one caller, instead of once for itself and once more for each level above."""
    return cast(_Function, numba.njit(inline="always")(function))


@compiled
def linear(x_ND: Floats, w_DM: Floats, out_NM: Floats, rows: int) -> None:
    """out = x @ w for the first `rows` rows. D must be a multiple of 4; `x` and `out` have a row to spare.

    Four rows and four terms at a time: each load of a weight serves four times, and so does each of a sum.
    """
    first = 0
    while rows - first > 2:
        four_rows(x_ND[first : first + 4], w_DM, out_NM[first : first + 4])
        first += 4
    if first < rows:
        two_rows(x_ND[first : first + 2], w_DM, out_NM[first : first + 2])


@compiled
def two_rows(x_2D: Floats, w_DM: Floats, out_2M: Floats) -> None:
    """out = x @ w, every sum in the same order as `four_rows` does it."""
    x, y = x_2D[0], x_2D[1]
    sum_x, sum_y = out_2M[0], out_2M[1]
    for column in range(w_DM.shape[1]):
        sum_x[column] = 0.0
        sum_y[column] = 0.0
    for term in range(0, w_DM.shape[0], 4):
        w0, w1, w2, w3 = w_DM[term], w_DM[term + 1], w_DM[term + 2], w_DM[term + 3]
        x0, x1, x2, x3 = x[term], x[term + 1], x[term + 2], x[term + 3]
        y0, y1, y2, y3 = y[term], y[term + 1], y[term + 2], y[term + 3]
        for column in range(w_DM.shape[1]):
            v0, v1, v2, v3 = w0[column], w1[column], w2[column], w3[column]
            sum_x[column] += x0 * v0 + x1 * v1 + x2 * v2 + x3 * v3
            sum_y[column] += y0 * v0 + y1 * v1 + y2 * v2 + y3 * v3


@compiled
def four_rows(x_4D: Floats, w_DM: Floats, out_4M: Floats) -> None:
    """out = x @ w. The weights are read once for all rows, before a sum is written that they might be."""
    x, y, z, u = x_4D[0], x_4D[1], x_4D[2], x_4D[3]
    sum_x, sum_y, sum_z, sum_u = out_4M[0], out_4M[1], out_4M[2], out_4M[3]
    for column in range(w_DM.shape[1]):
        sum_x[column] = 0.0
        sum_y[column] = 0.0
        sum_z[column] = 0.0
        sum_u[column] = 0.0
    for term in range(0, w_DM.shape[0], 4):
        w0, w1, w2, w3 = w_DM[term], w_DM[term + 1], w_DM[term + 2], w_DM[term + 3]
        x0, x1, x2, x3 = x[term], x[term + 1], x[term + 2], x[term + 3]
        y0, y1, y2, y3 = y[term], y[term + 1], y[term + 2], y[term + 3]
        z0, z1, z2, z3 = z[term], z[term + 1], z[term + 2], z[term + 3]
        u0, u1, u2, u3 = u[term], u[term + 1], u[term + 2], u[term + 3]
        for column in range(w_DM.shape[1]):
            v0, v1, v2, v3 = w0[column], w1[column], w2[column], w3[column]
            sum_x[column] += x0 * v0 + x1 * v1 + x2 * v2 + x3 * v3
            sum_y[column] += y0 * v0 + y1 * v1 + y2 * v2 + y3 * v3
            sum_z[column] += z0 * v0 + z1 * v1 + z2 * v2 + z3 * v3
            sum_u[column] += u0 * v0 + u1 * v1 + u2 * v2 + u3 * v3


@compiled
def rms_norm(x_D: Floats, weight_D: Floats, out_D: Floats) -> None:
    """out = x / sqrt(mean(x^2) + eps) * weight."""
    squares = np.float32(0.0)
    for place in range(len(x_D)):
        squares += x_D[place] * x_D[place]
    scale = np.float32(1.0) / np.sqrt(squares / np.float32(len(x_D)) + EPSILON)
    for place in range(len(x_D)):
        out_D[place] = x_D[place] * scale * weight_D[place]


@compiled
def exp(x: np.float32) -> np.float32:
    """e^x to 3e-7, 0 below -87, for x up to 88, in a form that goes through the vector lanes.

    The polynomial of Cephes' expf (Moshier 1989) around the nearest power of two.
    """
    gone = x < np.float32(-87.0)
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    power = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    rest = x - power * np.float32(0.693359375)
    rest = rest - power * np.float32(-2.12194440e-4)
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    sum_ = sum_ * rest * rest + rest + np.float32(1.0)
    exponent = np.int32((np.int32(power) + np.int32(127)) << np.int32(23))
    result: np.float32 = sum_ * exponent.view(np.float32)
    return np.float32(0.0) if gone else result


@compiled
def sigmoid(x: np.float32) -> np.float32:
    """1 / (1 + exp(-x))."""
    one = np.float32(1.0)
    return one / (one + exp(-x))


@compiled
def age_bucket(age_ms: int) -> int:
    """As `moerec.models.attention.age_buckets`."""
    seconds = np.float32(max(age_ms, 0)) / np.float32(1000.0)
    exponent = np.float32(np.float32(1.0) + seconds).view(np.int32) >> np.int32(23)
    return min(int(exponent) - 127, TIME_BUCKETS - 1)


@compiled
def store(x_D: Floats, stored_D: NDArray[Any]) -> np.float32:
    """stored * scale = x, as near as the type of `stored` can be; the scale, 1 for float32.

    int8 in steps of the largest coordinate / 127.
    """
    scale = np.float32(1.0)
    if stored_D.itemsize == 1:
        largest = np.float32(0.0)
        for place in range(len(x_D)):
            largest = max(largest, abs(x_D[place]))
        scale = largest / np.float32(127.0) if largest > 0 else scale
        steps = np.float32(1.0) / scale
        for place in range(len(x_D)):
            stored_D[place] = np.rint(x_D[place] * steps)
    else:
        for place in range(len(x_D)):
            stored_D[place] = x_D[place]
    return scale


@compiled
def look(query_D: Floats, keys_DP: NDArray[Any], products_HP: Floats, filled: int) -> None:
    """products = query . key for every head and the first `filled` places. C is a multiple of 4."""
    H = len(products_HP)
    C = keys_DP.shape[0] // H
    for head in range(H):
        products_P = products_HP[head]
        for place in range(filled):
            products_P[place] = 0.0
        for term in range(head * C, head * C + C, 4):
            q0, q1, q2, q3 = query_D[term], query_D[term + 1], query_D[term + 2], query_D[term + 3]
            k0, k1, k2, k3 = keys_DP[term], keys_DP[term + 1], keys_DP[term + 2], keys_DP[term + 3]
            for place in range(filled):
                products_P[place] += (
                    q0 * np.float32(k0[place])
                    + q1 * np.float32(k1[place])
                    + q2 * np.float32(k2[place])
                    + q3 * np.float32(k3[place])
                )


@compiled
def softmax(x_P: Floats) -> None:
    """In place. An entry of -inf becomes 0; one entry at least is larger."""
    most = x_P[0]
    for place in range(1, len(x_P)):
        most = max(most, x_P[place])
    total = np.float32(0.0)
    for place in range(len(x_P)):
        x_P[place] = exp(x_P[place] - most)
        total += x_P[place]
    share = np.float32(1.0) / total
    for place in range(len(x_P)):
        x_P[place] *= share


@compiled
def blend(weights_HP: Floats, values_PD: NDArray[Any], mixed_D: Floats, filled: int) -> None:
    """mixed = sum over the first `filled` places, a multiple of 4, of weight * value, head by head."""
    H = len(weights_HP)
    C = len(mixed_D) // H
    for head in range(H):
        first, after = head * C, head * C + C
        mixed_C = mixed_D[first:after]
        for column in range(C):
            mixed_C[column] = 0.0
        for place in range(0, filled, 4):
            w0, w1 = weights_HP[head, place], weights_HP[head, place + 1]
            w2, w3 = weights_HP[head, place + 2], weights_HP[head, place + 3]
            v0, v1 = values_PD[place, first:after], values_PD[place + 1, first:after]
            v2, v3 = values_PD[place + 2, first:after], values_PD[place + 3, first:after]
            for column in range(C):
                mixed_C[column] += (
                    w0 * np.float32(v0[column])
                    + w1 * np.float32(v1[column])
                    + w2 * np.float32(v2[column])
                    + w3 * np.float32(v3[column])
                )


@compiled
def add_gated(x_D: Floats, branch_D: Floats, gate_D: Floats, bias_D: Floats, gated: bool) -> None:
    """x += sigmoid(gate + bias) * branch, or without the gate."""
    if gated:
        for place in range(len(x_D)):
            x_D[place] += sigmoid(gate_D[place] + bias_D[place]) * branch_D[place]
    else:
        for place in range(len(x_D)):
            x_D[place] += branch_D[place]

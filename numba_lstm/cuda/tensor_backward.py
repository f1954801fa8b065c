"""The recurrence on tensor cores, backward: the kernel with products of lower precision.

As forward (tensor_forward.py) a thread has one unit of two sequences. W_h and da are rounded
before they are multiplied, and nothing else is: da is written as float32. Two warps share a
sum, each over half of da, and exchange the halves between two barriers; between these nobody
reads the vectors, of which one copy is enough.

The equations are those of cell.py, with their numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32, types

from numba_lstm.activations import tanh
from numba_lstm.cell import cell_backward
from numba_lstm.cuda.device import ALIGNMENT, TENSOR_CAPABILITY, cuda, device_function, kernel
from numba_lstm.cuda.kinds import Kind
from numba_lstm.cuda.registers import make_zeros
from numba_lstm.cuda.tensor_cores import (
    COLUMNS,
    FRAGMENT,
    WORDS,
    depth,
    make_multiply,
    make_rounded,
    make_take,
    storage,
)
from numba_lstm.cuda.tensor_packing import CHUNK, backward_division, kinds_to_compile
from numba_lstm.cuda.tensor_threads import (
    longest,
    own_sequence,
    own_sum,
    peepholes_of,
    place_of,
    rows_of,
    signatures,
    u,
)
from numba_lstm.cuda.zoneout import NO_ZONE, stays, zone_of

# For those who compile the kernels: older GPUs lack the instructions.
least_capability = TENSOR_CAPABILITY


@functools.cache
def make_backward(kind: Kind) -> Any:
    """Make the backward kernel: equations (5) to (7) for all steps.

    Launched as that of recurrent.py, with its arguments, but that ``packed`` takes the place of
    ``at``: the fragments of W_h^T (M, size).
    """
    H, every_step, passes = kind.H, kind.every_step, kind.passes
    begins, learned, masked = kind.begins, kind.learned, kind.masked
    varied, peephole, zoned = kind.varied, kind.peephole, kind.zoned
    returns = kind.passes or kind.learned
    NB, precision, two, threads = kind.NB, kind.precision, kind.NB == COLUMNS, kind.threads
    parts, D, (stored, number) = backward_division(kind), depth(precision), storage(precision)
    held, chunks, products, per_product = parts.held, parts.chunks, parts.products, 32 * FRAGMENT
    size, exchanged = 2 * COLUMNS * D * products, 2 * threads
    zero, one, nothing = np.float32(0), np.float32(1), stored.type(0)
    take, multiply = make_take(held), make_multiply(precision, held, 1)
    take_chunk, multiply_chunk = make_take(CHUNK), make_multiply(precision, CHUNK, 1)
    rounded, zeros = make_rounded(precision), make_zeros(8)

    @device_function
    def begin_with(theta, m, q, j, own, there, at_state, c_0, mask, dc):
        """What h is multiplied by, the first cell, and the gradient of the last one."""
        kept, c_first, dc_t = one, zero, zero
        if masked and there:
            kept = mask[u(q), u(j)]
        if begins and there:
            c_first = c_0[u(q), u(j)]
        elif learned:
            c_first = theta[u(m), u(at_state + H + own)]
        if passes and there:
            dc_t = dc[u(q), u(j)]
        return kept, c_first, dc_t

    @device_function
    def kept_of(there, left, row, step, j, gates, c, c_first, dy, column):
        """Of a step, before which ``left`` are left: gates, cell before, gradient of h_t."""
        i_t, f_t, g_t, o_t, c_before, dy_t = zero, zero, zero, zero, zero, zero
        if there and left >= 0:
            i_t, f_t = gates[u(row), u(j)], gates[u(row), u(H + j)]
            g_t, o_t = gates[u(row), u(2 * H + j)], gates[u(row), u(3 * H + j)]
            if every_step:
                dy_t = dy[u(row), u(column + j)]
            c_before = c[u(row + step), u(j)] if left > 0 else c_first
        return i_t, f_t, g_t, o_t, c_before, dy_t

    @device_function
    def go_back(
        there, i, length, dh_t, dc_t, step_kept, c_t, peepholes, dp, limit, coupled,
        q, row, j, gates, d_end, end_column, dh, dh_0, dc_0, v, place, zone, when, chances,
    ):  # fmt: skip
        """A step of a sequence: the gradients of its cell and of its peepholes."""
        i_t, f_t, g_t, o_t, c_before, dy_t = step_kept
        dp_i, dp_f, dp_o = dp
        dh_kept, dc_kept = zero, zero
        if there and i == 0:
            dh_t = d_end[u(q), u(end_column + j)]
            if passes:
                dh_t += dh[u(q), u(j)]
        if there and i < length:
            dh_t += dy_t
            if zoned:
                stays_h, stays_c = stays(zone, when, j, *chances)
                dh_kept, dc_kept = stays_h * dh_t, stays_c * dc_t
                dh_t, dc_t = dh_t - dh_kept, dc_t - dc_kept
                c_t = f_t * c_before + i_t * g_t  # before some of it stayed as it was
            if varied:
                p_i, p_f, p_o = peepholes
                variant = (p_i, p_f, p_o, limit, coupled)
                da_i, da_f, da_g, da_o, dc_t = cell_backward(
                    i_t, f_t, g_t, o_t, c_before, tanh(c_t), dh_t, dc_t, variant
                )
            else:
                da_i, da_f, da_g, da_o, dc_t = cell_backward(
                    i_t, f_t, g_t, o_t, c_before, tanh(c_t), dh_t, dc_t, None
                )
            if peephole:
                dp_i += da_i * c_before
                dp_f += da_f * c_before
                dp_o += da_o * c_t
            if zoned:
                dc_t += dc_kept
            gates[u(row), u(j)], gates[u(row), u(H + j)] = da_i, da_f
            gates[u(row), u(2 * H + j)], gates[u(row), u(3 * H + j)] = da_g, da_o
            v[u(place)], v[u(place + 1)] = rounded(da_i), rounded(da_f)
            v[u(place + 2)], v[u(place + 3)] = rounded(da_g), rounded(da_o)
        elif returns and there and i == length:
            dh_0[u(q), u(j)], dc_0[u(q), u(j)] = dh_t, dc_t
        return dc_t, dh_kept, (dp_i, dp_f, dp_o)

    @device_function
    def write_peepholes(there, q, j, dp, d_peephole):
        if peephole and there:
            d_peephole[u(q), u(j)], d_peephole[u(q), u(H + j)] = dp[0], dp[1]
            d_peephole[u(q), u(2 * H + j)] = dp[2]

    def backward(
        packed, theta, at_peephole, at_state, limit, coupled, first, B, reverse,
        c_0, mask, gates, c, dy, column, d_end, end_column, dh, dc, dh_0, dc_0, d_peephole,
        seeds, first_step, number_of_cell, z_h, z_c, bound_h, bound_c,
    ):  # fmt: skip
        v = cuda.shared.array(size, number, ALIGNMENT)
        others = cuda.shared.array(exchanged, float32, ALIGNMENT)
        t, m, block = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * NB
        lane, warp = t & 31, t >> 5
        j, n, late = 8 * warp + (lane >> 2), own_sequence(lane, two), (warp & 1) != 0
        q_1, begin_1, length_1 = rows_of(first, m, block + n, B)
        q_2, begin_2, length_2 = rows_of(first, m, block + n + 1, B)
        there_1, there_2 = j < H and block + n < B, two and j < H and block + n + 1 < B
        T = longest(first, m, block, NB, B)

        start = m * (packed.shape[1] * 8 // D) + warp * products * per_product + lane * FRAGMENT
        W = take(packed, start)
        own, peepholes = min(j, H - 1), (zero, zero, zero)
        if peephole:
            peepholes = peepholes_of(theta, m, at_peephole + own, H)
        kept_1, first_1, dc_1 = begin_with(theta, m, q_1, j, own, there_1, at_state, c_0, mask, dc)
        kept_2, first_2, dc_2 = begin_with(theta, m, q_2, j, own, there_2, at_state, c_0, mask, dc)
        dp_1, dp_2 = (zero, zero, zero), (zero, zero, zero)
        zone_1, zone_2, chances = NO_ZONE, NO_ZONE, (z_h, z_c, bound_h, bound_c)
        stayed_1, stayed_2 = zero, zero
        if zoned:
            zone_1 = zone_of(seeds, m, number_of_cell, block + n)
            zone_2 = zone_of(seeds, m, number_of_cell, block + n + 1)
        for e in range(t, size, threads):
            v[u(e)] = nothing

        # Of the step at hand: where it is, and what was kept of it.
        step = 1 if reverse else -1
        row_1 = begin_1 if reverse else begin_1 + length_1 - 1
        row_2 = begin_2 if reverse else begin_2 + length_2 - 1
        c_1, c_2 = zero, zero
        if there_1 and length_1 > 0:
            c_1 = c[u(row_1), u(j)]
        if there_2 and length_2 > 0:
            c_2 = c[u(row_2), u(j)]
        at_1 = kept_of(there_1, length_1 - 1, row_1, step, j, gates, c, first_1, dy, column)
        at_2 = kept_of(there_2, length_2 - 1, row_2, step, j, gates, c, first_2, dy, column)
        place, at = place_of(4 * j, n, D), WORDS * products * (warp & 1) + 2 * lane
        cuda.syncthreads()

        for i in range(T + 1 if returns else T):
            # The step before, on its way meanwhile.
            left_1, left_2 = length_1 - 2 - i, length_2 - 2 - i
            next_1 = kept_of(there_1, left_1, row_1 + step, step, j, gates, c, first_1, dy, column)
            next_2 = kept_of(there_2, left_2, row_2 + step, step, j, gates, c, first_2, dy, column)
            own_1, own_2 = zero, zero
            if i > 0:
                s = multiply(zeros(zero), W, v, at)
                for chunk in range(chunks):
                    k = held + CHUNK * chunk
                    U = take_chunk(packed, start + k * per_product)
                    s = multiply_chunk(s, U, v, at + WORDS * k)
                # Sums over half of da, for own units and for those of the other warp.
                low_1, low_2, high_1, high_2 = s[0] + s[4], s[1] + s[5], s[2] + s[6], s[3] + s[7]
                own_1, own_2 = high_1 if late else low_1, high_2 if late else low_2
                others[u(t)] = low_1 if late else high_1
                others[u(threads + t)] = low_2 if late else high_2
            cuda.syncthreads()
            if i > 0:
                own_1 += others[u(t ^ 32)]
                own_2 += others[u(threads + (t ^ 32))]

            dh_1, dh_2 = own_sum(own_1, own_2, lane, two), own_2
            if zoned:
                dh_1, dh_2 = dh_1 + stayed_1, dh_2 + stayed_2
            dc_1, stayed_1, dp_1 = go_back(
                *(there_1, i, length_1, dh_1 * kept_1, dc_1, at_1),
                *(c_1, peepholes, dp_1, limit, coupled, q_1, row_1, j, gates, d_end, end_column),
                *(dh, dh_0, dc_0, v, place, zone_1, row_1 - begin_1 + first_step, chances),
            )
            if two:
                dc_2, stayed_2, dp_2 = go_back(
                    *(there_2, i, length_2, dh_2 * kept_2, dc_2, at_2),
                    *(c_2, peepholes, dp_2, limit, coupled, q_2, row_2, j, gates, d_end),
                    *(end_column, dh, dh_0, dc_0, v, place + D),
                    *(zone_2, row_2 - begin_2 + first_step, chances),
                )
            row_1, row_2 = row_1 + step, row_2 + step
            c_1, c_2 = at_1[4], at_2[4]
            at_1, at_2 = next_1, next_2
            cuda.syncthreads()
        write_peepholes(there_1, q_1, j, dp_1, d_peephole)
        write_peepholes(there_2, q_2, j, dp_2, d_peephole)

    return kernel(threads)(backward)


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of kernels of each kind."""
    cases = []
    for kind in kinds_to_compile():
        packed = types.Array(storage(kind.precision)[1], 2, "C")
        kernel_of_kind = make_backward(kind).py_func
        cases.append(
            (f"backward {kind}", kernel_of_kind, (packed, *signatures()[1]), kind.threads)
        )
    return cases

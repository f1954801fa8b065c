"""The recurrence on tensor cores, forward: the kernel with products of lower precision.

A block of threads takes 8 sequences, or 4, through all their steps. What is multiplied, weights
and [x_t, 1, h_{t-1}], is rounded to bfloat16 or TensorFloat-32; sums, gates, cells and all that
is written are float32. The weights' fragments lie in registers, and what does not fit is loaded
in every step (tensor_packing.py); the vectors lie in shared memory as tensor_cores.py wants
them, twice: one copy is read while the other is written.

A thread has one unit of two sequences, neighbours among the 8: the sums come out of the
products where they are needed, and no thread tells another one anything but h_t.

The equations are those of cell.py, with their numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from numba_lstm.cell import cell_forward, kept_or_new
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
from numba_lstm.cuda.tensor_packing import CHUNK, forward_division, kinds_to_compile
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
def make_forward(kind: Kind) -> Any:
    """Make the forward kernel: equations (1) to (4) for all steps.

    Launched as that of recurrent.py, with its arguments, but that ``packed`` takes the place of
    ``at``: the fragments of the weights that multiply [x_t, 1, h_{t-1}] (M, size).
    """
    H, X, keeps, every_step = kind.H, kind.X, kind.keeps, kind.every_step
    begins, learned, masked = kind.begins, kind.learned, kind.masked
    varied, peephole, zoned, threads = kind.varied, kind.peephole, kind.zoned, kind.threads
    NB, precision, two = kind.NB, kind.precision, kind.NB == COLUMNS
    parts, D, (stored, number) = forward_division(kind), depth(precision), storage(precision)
    held, chunks, products = parts.held, parts.chunks, parts.products
    size, words, per_product = COLUMNS * D * products, WORDS * products, 2 * 32 * FRAGMENT
    both, more_inputs = 2 * size, threads < NB * X  # but never more than twice as many
    zero, one, nothing = np.float32(0), np.float32(1), stored.type(0)
    take, multiply = make_take(2 * held), make_multiply(precision, held, 2)
    take_chunk, multiply_chunk = make_take(2 * CHUNK), make_multiply(precision, CHUNK, 2)
    rounded, zeros = make_rounded(precision), make_zeros(8)

    @device_function
    def begin_with(theta, m, q, j, own, there, at_state, h_0, c_0, mask):
        """State before the first step, and what h is multiplied by."""
        h, c, kept = zero, zero, one
        if begins and there:
            h, c = h_0[u(q), u(j)], c_0[u(q), u(j)]
        elif learned:
            h, c = theta[u(m), u(at_state + own)], theta[u(m), u(at_state + H + own)]
        if masked and there:
            kept = mask[u(q), u(j)]
        return h, c, kept

    @device_function
    def given(running, a, row, j):
        """Pre-activations of a step as far as they are given."""
        a_i, a_f, a_g, a_o = zero, zero, zero, zero
        if X == 0 and running:
            a_i, a_f = a[u(row), u(j)], a[u(row), u(H + j)]
            a_g, a_o = a[u(row), u(2 * H + j)], a[u(row), u(3 * H + j)]
        return a_i, a_f, a_g, a_o

    @device_function
    def advance(
        running, a_i, a_f, a_g, a_o, h, c, kept, peepholes, limit, coupled,
        row, j, xh, h_column, gates, cells, y, column, v, place, zone, when, chances,
    ):  # fmt: skip
        """A step of a sequence: its h and c."""
        if running:
            before, c_before = h * kept, c
            if varied:
                p_i, p_f, p_o = peepholes
                variant = (p_i, p_f, p_o, limit, coupled)
                i_t, f_t, g_t, o_t, c, _, h = cell_forward(a_i, a_f, a_g, a_o, c, variant)
            else:
                i_t, f_t, g_t, o_t, c, _, h = cell_forward(a_i, a_f, a_g, a_o, c, None)
            if zoned:
                stays_h, stays_c = stays(zone, when, j, *chances)
                h, c = kept_or_new(stays_h, before, h), kept_or_new(stays_c, c_before, c)
            if keeps:
                xh[u(row), u(h_column + j)], cells[u(row), u(j)] = before, c
                gates[u(row), u(j)], gates[u(row), u(H + j)] = i_t, f_t
                gates[u(row), u(2 * H + j)], gates[u(row), u(3 * H + j)] = g_t, o_t
            if every_step:
                y[u(row), u(column + j)] = h
            v[u(place)] = rounded(h * kept)
        return h, c

    @device_function
    def input_of(e, first, m, block, B, reverse):
        """Of number e of x_t: first row, the way to the next, how many, column, and place."""
        row, step, length, k, place = 0, 0, 0, 0, 0
        if X > 0:
            n = e // X
            k = e - X * n
            place = place_of(k, n, D)
            if n < NB and block + n < B:
                row = first[u(m * B + block + n)]
                length = first[u(m * B + block + n + 1)] - row
                step = 1
                if reverse:
                    row, step = row + length - 1, -1
        return row, step, length, k, place

    def forward(
        packed, theta, at_peephole, at_state, limit, coupled, xh, h_column, a, first, B, reverse,
        h_0, c_0, mask, gates, c, y, column, h_end, end_column, c_end,
        seeds, first_step, number_of_cell, z_h, z_c, bound_h, bound_c,
    ):  # fmt: skip
        v = cuda.shared.array(both, number, ALIGNMENT)
        t, m, block = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * NB
        lane, warp = t & 31, t >> 5
        j, n = 8 * warp + (lane >> 2), own_sequence(lane, two)
        q_1, begin_1, length_1 = rows_of(first, m, block + n, B)
        q_2, begin_2, length_2 = rows_of(first, m, block + n + 1, B)
        there_1, there_2 = j < H and block + n < B, two and j < H and block + n + 1 < B
        T = longest(first, m, block, NB, B)

        start = m * (packed.shape[1] * 8 // D) + warp * products * per_product + lane * FRAGMENT
        W = take(packed, start)
        own, peepholes = min(j, H - 1), (zero, zero, zero)
        if peephole:
            peepholes = peepholes_of(theta, m, at_peephole + own, H)
        h_1, c_1, kept_1 = begin_with(theta, m, q_1, j, own, there_1, at_state, h_0, c_0, mask)
        h_2, c_2, kept_2 = begin_with(theta, m, q_2, j, own, there_2, at_state, h_0, c_0, mask)
        zone_1, zone_2, chances = NO_ZONE, NO_ZONE, (z_h, z_c, bound_h, bound_c)
        if zoned:
            zone_1 = zone_of(seeds, m, number_of_cell, block + n)
            zone_2 = zone_of(seeds, m, number_of_cell, block + n + 1)
        # One number of x_t for each thread, or two.
        x_row, x_step, x_length, x_k, x_place = input_of(t, first, m, block, B, reverse)
        z_row, z_step, z_length, z_k, z_place = 0, 0, 0, 0, 0
        if more_inputs:
            z_row, z_step, z_length, z_k, z_place = input_of(
                t + threads, first, m, block, B, reverse
            )
        for e in range(t, both, threads):
            v[u(e)] = nothing
        cuda.syncthreads()
        place = place_of(X + j, n, D)
        if there_1:
            v[u(place)] = rounded(h_1 * kept_1)
        if there_2:
            v[u(place + D)] = rounded(h_2 * kept_2)
        if x_length > 0:
            v[u(x_place)] = rounded(xh[u(x_row), u(x_k)])
        if z_length > 0:
            v[u(z_place)] = rounded(xh[u(z_row), u(z_k)])
        cuda.syncthreads()

        for i in range(T):
            now = i & 1
            later = size - now * size
            running_1, running_2 = there_1 and i < length_1, there_2 and i < length_2
            row_1 = begin_1 + (length_1 - 1 - i if reverse else i)
            row_2 = begin_2 + (length_2 - 1 - i if reverse else i)
            # What the next step and the end of this one need, on its way meanwhile.
            x, z = zero, zero
            if i + 1 < x_length:
                x = xh[u(x_row + (i + 1) * x_step), u(x_k)]
            if i + 1 < z_length:
                z = xh[u(z_row + (i + 1) * z_step), u(z_k)]
            i_1, f_1, g_1, o_1 = given(running_1, a, row_1, j)
            i_2, f_2, g_2, o_2 = given(running_2, a, row_2, j)

            at = now * words + 2 * lane
            s = multiply(zeros(zero), W, v, at)
            for chunk in range(chunks):
                k = held + CHUNK * chunk
                U = take_chunk(packed, start + k * per_product)
                s = multiply_chunk(s, U, v, at + WORDS * k)
            i_1 += own_sum(s[0], s[1], lane, two)
            f_1 += own_sum(s[2], s[3], lane, two)
            g_1 += own_sum(s[4], s[5], lane, two)
            o_1 += own_sum(s[6], s[7], lane, two)

            h_1, c_1 = advance(
                *(running_1, i_1, f_1, g_1, o_1, h_1, c_1, kept_1, peepholes, limit, coupled),
                *(row_1, j, xh, h_column, gates, c, y, column, v, later + place),
                *(zone_1, row_1 - begin_1 + first_step, chances),
            )
            if two:
                h_2, c_2 = advance(
                    *(running_2, i_2 + s[1], f_2 + s[3], g_2 + s[5], o_2 + s[7], h_2, c_2),
                    *(kept_2, peepholes, limit, coupled, row_2, j, xh, h_column, gates, c),
                    *(y, column, v, later + place + D),
                    *(zone_2, row_2 - begin_2 + first_step, chances),
                )
            if i + 1 < x_length:
                v[u(later + x_place)] = rounded(x)
            if i + 1 < z_length:
                v[u(later + z_place)] = rounded(z)
            cuda.syncthreads()
        if there_1:
            h_end[u(q_1), u(end_column + j)], c_end[u(q_1), u(j)] = h_1, c_1
        if there_2:
            h_end[u(q_2), u(end_column + j)], c_end[u(q_2), u(j)] = h_2, c_2

    return kernel(threads)(forward)


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of kernels of each kind."""
    cases = []
    for kind in kinds_to_compile():
        packed = types.Array(storage(kind.precision)[1], 2, "C")
        kernel_of_kind = make_forward(kind).py_func
        cases.append((f"forward {kind}", kernel_of_kind, (packed, *signatures()[0]), kind.threads))
    return cases

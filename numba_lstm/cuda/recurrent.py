"""The recurrence: all time steps of a cell in one launch, forward and back.

A block of threads takes NB sequences through all their steps; nothing else is waited for than
the other threads of the block, once a step. The weights lie in registers, what does not fit
comes from the caches, and the vectors that change with every step, of all NB sequences, lie
in shared memory, twice: one copy is read while the other is written.

Forward, four threads share a unit. Each multiplies the four gates' weights of every fourth
input with that input of all NB sequences; then the four exchange their sums, so that each has
all of one sequence, and computes equations (2) to (4) for it. With fewer than four sequences
several threads compute the same.

Backward, sixteen threads share four units: each has every sixteenth of the 4H gradients da,
and W_h's weights between these and the four units.

The equations are those of cell.py, with their numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float32, float64, types

from numba_lstm.activations import tanh
from numba_lstm.cell import cell_backward, cell_forward, kept_or_new
from numba_lstm.cuda.device import ALIGNMENT, cuda, kernel
from numba_lstm.cuda.exchange import make_collect, make_collect_unit
from numba_lstm.cuda.kinds import CHUNK, Kind, share
from numba_lstm.cuda.registers import make_hold, make_multiply, make_zeros
from numba_lstm.cuda.zoneout import NO_ZONE, argument_types, stays, zone_of

# An index that cannot be negative: of others Numba checks whether they count from the end.
u = np.uint64


@functools.cache
def make_forward(kind: Kind) -> Any:
    """Make the forward kernel: equations (1) to (4) for all steps.

    Launched on a grid of (blocks of NB sequences, models). Its arguments, arrays of the kind's
    dtype unless said otherwise; what the kind makes no use of may be any array of the rank:

    theta : (M, P)
        Weights; ``at`` is the place in each row of those that multiply [x_t, 1, h_{t-1}], or
        without X of W_h, (X + H, 4H); ``at_peephole`` that of the peepholes (3, H), and
        ``at_state`` that of a learned state (2, H).
    xh : (S, V)
        Inputs, the bias's 1, and from column ``h_column`` on what is written of h_{t-1}.
    a : (S, 4H)
        Pre-activations without the share of h_{t-1}, if there is no X.
    first : int64 (M B + 1)
        First row of each sequence.
    h_0, c_0 : (M B, H)
        State to begin with.
    mask : (M B, H)
        What h_{t-1} is multiplied by.
    gates, c : (S, 4H), (S, H)
        Receive i, f, g, o, and the cell.
    y : (S, width)
        Receives h_t from ``column`` on.
    h_end, c_end : (M B, width), (M B, H)
        Receive the state at the end, h from ``end_column`` on.
    seeds : int64 (M,)
        Of the draws of units that stay as they were, at steps that are counted from
        ``first_step`` on, in the cell of this ``number``; 0 draws nothing. ``z_h`` and ``z_c``
        are the probabilities, ``bound_h`` and ``bound_c`` what uniform draws are then below.
    """
    H, X, NB, keeps, every_step = kind.H, kind.X, kind.NB, kind.keeps, kind.every_step
    begins, learned, masked = kind.begins, kind.learned, kind.masked
    varied, peephole, zoned = kind.varied, kind.peephole, kind.zoned
    G, n_inputs = 4 * H, X + H
    parts, (real, zero) = share(kind, n_inputs, 4), _numbers(kind)
    held, chunks, rest, size = parts.held, parts.chunks, parts.rest, 4 * NB * parts.total
    both, in_chunks, threads = 2 * size, held + CHUNK * chunks, kind.threads
    hold, multiply = _held_product(kind, parts, 4)
    hold_chunk, multiply_chunk = _product(kind, CHUNK, CHUNK, 4)
    hold_rest, multiply_rest = _product(kind, rest, parts.sure - in_chunks, 4)
    zeros, collect = make_zeros(4 * NB), make_collect(NB)

    def forward(
        theta, at, at_peephole, at_state, limit, coupled, xh, h_column, a, first, B, reverse,
        h_0, c_0, mask, gates, c, y, column, h_end, end_column, c_end,
        seeds, first_step, number, z_h, z_c, bound_h, bound_c,
    ):  # fmt: skip
        v = cuda.shared.array(both, real, ALIGNMENT)
        t, m, block = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * NB
        s, j = t & 3, t >> 2
        n = s % NB
        q = m * B + min(block + n, B - 1)
        begin = first[u(q)]
        length = first[u(q + 1)] - begin
        there = block + n < B and j < H
        writes = there and s < NB
        T = 0  # the longest
        for b in range(block, min(block + NB, B)):
            T = max(T, first[u(m * B + b + 1)] - first[u(m * B + b)])

        own = min(j, H - 1)
        start = m * theta.shape[1] + at + s * G + own
        count = (n_inputs - s + 3) >> 2
        W = hold(zero, theta, start, 4 * G, H, 4, count)
        p_i, p_f, p_o = zero, zero, zero
        if peephole:
            p_i = theta[u(m), u(at_peephole + own)]
            p_f = theta[u(m), u(at_peephole + H + own)]
            p_o = theta[u(m), u(at_peephole + 2 * H + own)]

        h_t, c_t, kept = zero, zero, theta.dtype.type(1)
        if begins and there:
            h_t, c_t = h_0[u(q), u(j)], c_0[u(q), u(j)]
        elif learned:
            h_t, c_t = theta[u(m), u(at_state + own)], theta[u(m), u(at_state + H + own)]
        if masked and there:
            kept = mask[u(q), u(j)]
        zone = NO_ZONE
        if zoned:
            zone = zone_of(seeds, m, number, block + n)
        # One number of x_t for each of the first threads.
        x_row, x_step, x_length, x_n, x_k = 0, 0, 0, 0, 0
        if X > 0:
            x_n = t // X
            x_k = t - X * x_n
            if x_n < NB and block + x_n < B:
                x_row = first[u(m * B + block + x_n)]
                x_length = first[u(m * B + block + x_n + 1)] - x_row
                x_step = 1
                if reverse:
                    x_row, x_step = x_row + x_length - 1, -1
        for e in range(t, both, threads):
            v[u(e)] = zero
        cuda.syncthreads()
        if writes:
            v[u((X + j) * NB + n)] = h_t * kept
        if x_length > 0:
            v[u(x_k * NB + x_n)] = xh[u(x_row), u(x_k)]
        cuda.syncthreads()

        for i in range(T):
            now = (i & 1) * size
            later = size - now
            running = there and i < length
            row = begin + (length - 1 - i if reverse else i)
            # What the next step and the end of this one need, on its way meanwhile.
            x, a_i, a_f, a_g, a_o = zero, zero, zero, zero, zero
            if X > 0 and i + 1 < x_length:
                x = xh[u(x_row + (i + 1) * x_step), u(x_k)]
            if X == 0 and running:
                a_i, a_f, a_g, a_o = (
                    a[u(row), u(j)],
                    a[u(row), u(H + j)],
                    a[u(row), u(2 * H + j)],
                    a[u(row), u(3 * H + j)],
                )

            sums = multiply(zeros(zero), W, v, now + s * NB)
            for chunk in range(chunks):
                k = held + CHUNK * chunk
                U = hold_chunk(zero, theta, start + 4 * k * G, 4 * G, H, 4, count)
                sums = multiply_chunk(sums, U, v, now + (4 * k + s) * NB)
            if rest > 0:
                k = in_chunks
                U = hold_rest(zero, theta, start + 4 * k * G, 4 * G, H, 4, count - k)
                sums = multiply_rest(sums, U, v, now + (4 * k + s) * NB)
            a_i += collect(sums, 0, s)
            a_f += collect(sums, 1, s)
            a_g += collect(sums, 2, s)
            a_o += collect(sums, 3, s)

            if running:
                before, c_before = h_t * kept, c_t
                if varied:
                    variant = (p_i, p_f, p_o, limit, coupled)
                    i_t, f_t, g_t, o_t, c_t, _, h_t = cell_forward(
                        a_i, a_f, a_g, a_o, c_t, variant
                    )
                else:
                    i_t, f_t, g_t, o_t, c_t, _, h_t = cell_forward(a_i, a_f, a_g, a_o, c_t, None)
                if zoned:
                    when = row - begin + first_step
                    stays_h, stays_c = stays(zone, when, j, z_h, z_c, bound_h, bound_c)
                    h_t = kept_or_new(stays_h, before, h_t)
                    c_t = kept_or_new(stays_c, c_before, c_t)
                if writes:
                    if keeps:
                        xh[u(row), u(h_column + j)], c[u(row), u(j)] = before, c_t
                        gates[u(row), u(j)], gates[u(row), u(H + j)] = i_t, f_t
                        gates[u(row), u(2 * H + j)], gates[u(row), u(3 * H + j)] = g_t, o_t
                    if every_step:
                        y[u(row), u(column + j)] = h_t
                    v[u(later + (X + j) * NB + n)] = h_t * kept
            if i + 1 < x_length:
                v[u(later + x_k * NB + x_n)] = x
            cuda.syncthreads()
        if writes:
            h_end[u(q), u(end_column + j)], c_end[u(q), u(j)] = h_t, c_t

    return kernel(threads)(forward)


@functools.cache
def make_backward(kind: Kind) -> Any:
    """Make the backward kernel: equations (5) to (7) for all steps.

    Launched as the forward kernel is, and of the same kind but for X, which is not used. Its
    arguments, beside those of the forward kernel:

    theta : (M, P)
        Weights; ``at`` is the place of W_h (H, 4H) in each row.
    gates : (S, 4H)
        What the forward kernel kept; receives da.
    dy : (S, width)
        With ``every_step`` the gradient of h_t, from ``column`` on.
    d_end : (M B, width)
        Gradient of the last h_t, from ``end_column`` on.
    dh, dc : (M B, H)
        With ``passes`` what is added to it, and the gradient of the last cell.
    dh_0, dc_0 : (M B, H)
        With ``passes``, or if it is learned, receive the gradient of the state at the beginning.
    d_peephole : (M B, 3H)
        With peepholes receives each sequence's share of their gradient.
    """
    H, NB, every_step, passes = kind.H, kind.NB, kind.every_step, kind.passes
    begins, learned, masked = kind.begins, kind.learned, kind.masked
    varied, peephole, zoned = kind.varied, kind.peephole, kind.zoned
    returns = kind.passes or kind.learned
    G = 4 * H
    parts, (real, zero) = share(kind, G, 16), _numbers(kind)
    held, chunks, rest, size = parts.held, parts.chunks, parts.rest, 16 * NB * parts.total
    both, in_chunks, threads = 2 * size, held + CHUNK * chunks, kind.threads
    hold, multiply = _held_product(kind, parts, 16)
    hold_chunk, multiply_chunk = _product(kind, CHUNK, CHUNK, 16)
    hold_rest, multiply_rest = _product(kind, rest, parts.sure - in_chunks, 16)
    zeros, collect = make_zeros(4 * NB), make_collect_unit(NB)

    def backward(
        theta, at, at_peephole, at_state, limit, coupled, first, B, reverse,
        c_0, mask, gates, c, dy, column, d_end, end_column, dh, dc, dh_0, dc_0, d_peephole,
        seeds, first_step, number, z_h, z_c, bound_h, bound_c,
    ):  # fmt: skip
        v = cuda.shared.array(both, real, ALIGNMENT)
        t, m, block = cuda.threadIdx.x, cuda.blockIdx.y, cuda.blockIdx.x * NB
        lane = t & 15
        unit = (t >> 4) * 4  # the first of four
        n, j = (lane >> 2) % NB, unit + (lane & 3)
        q = m * B + min(block + n, B - 1)
        begin = first[u(q)]
        length = first[u(q + 1)] - begin
        there = block + n < B and j < H
        writes = there and lane >> 2 < NB
        T = 0
        for b in range(block, min(block + NB, B)):
            T = max(T, first[u(m * B + b + 1)] - first[u(m * B + b)])

        unit = min(unit, (H - 1) // 4 * 4)
        outputs = 4 if H % 4 == 0 else min(4, H - unit)
        start = m * theta.shape[1] + at + unit * G + lane
        count = (G - lane + 15) >> 4
        W = hold(zero, theta, start, 16, G, outputs, count)
        p_i, p_f, p_o, dp_i, dp_f, dp_o = zero, zero, zero, zero, zero, zero
        own = min(j, H - 1)
        if peephole:
            p_i = theta[u(m), u(at_peephole + own)]
            p_f = theta[u(m), u(at_peephole + H + own)]
            p_o = theta[u(m), u(at_peephole + 2 * H + own)]

        kept, dc_t, c_first = theta.dtype.type(1), zero, zero
        if masked and there:
            kept = mask[u(q), u(j)]
        if begins and there:
            c_first = c_0[u(q), u(j)]
        elif learned:
            c_first = theta[u(m), u(at_state + H + own)]
        if passes and there:
            dc_t = dc[u(q), u(j)]
        zone, dh_kept, dc_kept = NO_ZONE, zero, zero
        if zoned:
            zone = zone_of(seeds, m, number, block + n)
        for e in range(t, both, threads):
            v[u(e)] = zero

        # Of the step at hand: where it is, and what was kept of it.
        step = 1 if reverse else -1
        row = begin if reverse else begin + length - 1
        i_t, f_t, g_t, o_t, c_t, c_before, dy_t = zero, zero, zero, zero, zero, zero, zero
        if there and length > 0:
            i_t, f_t = gates[u(row), u(j)], gates[u(row), u(H + j)]
            g_t, o_t, c_t = (
                gates[u(row), u(2 * H + j)],
                gates[u(row), u(3 * H + j)],
                c[u(row), u(j)],
            )
            if every_step:
                dy_t = dy[u(row), u(column + j)]
            c_before = c[u(row + step), u(j)] if length > 1 else c_first
        cuda.syncthreads()

        for i in range(T + 1 if returns else T):
            now = (i & 1) * size
            later = size - now
            # The step before, on its way meanwhile.
            i_n, f_n, g_n, o_n, c_n, dy_n = zero, zero, zero, zero, zero, zero
            if there and i + 1 < length:
                r = row + step
                i_n, f_n = gates[u(r), u(j)], gates[u(r), u(H + j)]
                g_n, o_n = gates[u(r), u(2 * H + j)], gates[u(r), u(3 * H + j)]
                if every_step:
                    dy_n = dy[u(r), u(column + j)]
                c_n = c[u(r + step), u(j)] if i + 2 < length else c_first

            dh_t = zero
            if i > 0:
                sums = multiply(zeros(zero), W, v, now + lane * NB)
                for chunk in range(chunks):
                    k = held + CHUNK * chunk
                    U = hold_chunk(zero, theta, start + 16 * k, 16, G, outputs, count)
                    sums = multiply_chunk(sums, U, v, now + (16 * k + lane) * NB)
                if rest > 0:
                    k = in_chunks
                    U = hold_rest(zero, theta, start + 16 * k, 16, G, outputs, count - k)
                    sums = multiply_rest(sums, U, v, now + (16 * k + lane) * NB)
                dh_t = collect(sums, lane)
                if zoned:
                    dh_t += dh_kept
                dh_t *= kept
            if there and i == 0:
                dh_t = d_end[u(q), u(end_column + j)]
                if passes:
                    dh_t += dh[u(q), u(j)]

            if there and i < length:
                dh_t += dy_t
                if zoned:
                    when = row - begin + first_step
                    stays_h, stays_c = stays(zone, when, j, z_h, z_c, bound_h, bound_c)
                    dh_kept, dc_kept = stays_h * dh_t, stays_c * dc_t
                    dh_t, dc_t = dh_t - dh_kept, dc_t - dc_kept
                    c_t = f_t * c_before + i_t * g_t  # before some of it stayed as it was
                if varied:
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
                if writes:
                    gates[u(row), u(j)], gates[u(row), u(H + j)] = da_i, da_f
                    gates[u(row), u(2 * H + j)], gates[u(row), u(3 * H + j)] = da_g, da_o
                    v[u(later + j * NB + n)] = da_i
                    v[u(later + (H + j) * NB + n)] = da_f
                    v[u(later + (2 * H + j) * NB + n)] = da_g
                    v[u(later + (3 * H + j) * NB + n)] = da_o
            elif returns and writes and i == length:
                dh_0[u(q), u(j)], dc_0[u(q), u(j)] = dh_t, dc_t
            row += step
            i_t, f_t, g_t, o_t, dy_t = i_n, f_n, g_n, o_n, dy_n
            c_t, c_before = c_before, c_n
            cuda.syncthreads()
        if peephole and writes:
            d_peephole[u(q), u(j)] = dp_i
            d_peephole[u(q), u(H + j)] = dp_f
            d_peephole[u(q), u(2 * H + j)] = dp_o

    return kernel(threads)(backward)


def _numbers(kind):
    """Numba's type of a kind's numbers, and its zero."""
    zero = np.dtype(kind.dtype).type(0)
    return (float32 if kind.dtype == "float32" else float64), zero


def _product(kind, n, sure, lanes):
    """The functions that hold the weights of n inputs, and multiply with them."""
    alignment = min(16, kind.NB * np.dtype(kind.dtype).itemsize)
    return make_hold(n, min(n, max(0, sure))), make_multiply(n, lanes, kind.NB, alignment)


def _held_product(kind, parts, lanes):
    return _product(kind, parts.held, parts.sure, lanes)


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of kernels of each kind."""
    kinds = [
        *(Kind("float32", 64, 17, NB, keeps=True) for NB in (1, 2, 4)),
        *(Kind("float32", 32, 5, 4, True, True), Kind("float32", 37, 6, 4)),
        *(Kind("float32", 128, 33, 4, True, True), Kind("float32", 128, 0, 4)),
        *(Kind("float32", 256, 0, 4, True, True), Kind("float64", 64, 17, 4, keeps=True)),
        *(Kind("float64", 128, 33, 4, True, True), Kind("float64", 256, 0, 2, True, True)),
    ]
    for dtype in "float32", "float64":
        kinds.append(Kind(dtype, 64, 17, 4, True, True, True, False, True, True, True, True))
        kinds += [kinds[-1]._replace(zoned=True), Kind(dtype, 128, 33, 4, True, zoned=True)]
        kinds.append(Kind(dtype, 256, 0, 2, True, True, zoned=True))
    kinds.append(Kind("float32", 64, 0, 4, True, True, False, True, False, True, True, False))
    size, flag, first = types.int64, types.boolean, types.Array(types.int64, 1, "C")
    cases = []
    for kind in kinds:
        number, _ = _numbers(kind)
        A = types.Array(number, 2, "C")
        variant, zoneout = (A, size, size, size, number, flag), argument_types(number)
        forward = *variant, A, size, A, first, size, flag, *[A] * 6, size, A, size, A, *zoneout
        backward = *variant, first, size, flag, *[A] * 5, size, A, size, *[A] * 5, *zoneout
        cases += [
            (f"forward {kind}", make_forward(kind).py_func, forward, kind.threads),
            (f"backward {kind}", make_backward(kind).py_func, backward, kind.threads),
        ]
    return cases

"""One block of sequences through one cell, one direction of a layer, serial.

A batch holds its sequences in order of falling length, so that those of a block still
running at step t are its first ones. What a block computes lies in packed rows: step
after step, and inside a step the running sequences together. There is no padding: a
finished sequence costs nothing. Block ``s:e`` owns the rows ends[s]:ends[e], where
ends[i] is the number of time steps of all sequences before i. The buffers of a training
step hold a few blocks at a time, a wave, and begin with row ``base``.

A cell that reads in reverse begins each sequence at that sequence's own last step: it goes
through the same rows the other way, and sequences join where they would have dropped out.

The equations' numbers are those of cell.py.
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.gates import activate, differentiate, standardise
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import ADD, SET, fill_zeros, product
from numba_lstm.cpu.special import add_kept, advance, keep_ends, mask_rows, retreat
from numba_lstm.cpu.table import C_0, CELL, EXTRA, H_0
from numba_lstm.memory import matrix


@helper
def running(ends, t, s, e, n):
    """How many of the sequences s to e run at step t; n is a guess."""
    while n > 0 and ends[s + n] - ends[s + n - 1] <= t:
        n -= 1
    while n < e - s and ends[s + n + 1] - ends[s + n] > t:
        n += 1
    return n


@linked()
def forward_cell(theta, memory, table, cell, inputs, s, e, base, first, every_step):
    """Forward pass of sequences s to e: fills xh, gates, c, tanh_c and h of a cell.

    ``cell`` is where the cell's part of the table begins.
    With ``every_step`` row p of h is h_t of packed row p, else rows from ``first`` on are the
    sequences' last hidden states. In a prediction nothing else is kept: each sequence has one
    row of xh, gates, c and tanh_c, from row ``first`` on. Each number is computed alike, to
    the last bit.
    """
    values, itemsize, starts, ends, mean, inverse_scale, decay = inputs
    xh, gates = matrix(memory, table, cell + CELL.xh), matrix(memory, table, cell + CELL.gates)
    c, h, x = (
        matrix(memory, table, cell + CELL.c),
        matrix(memory, table, cell + CELL.h),
        matrix(memory, table, cell + CELL.x),
    )
    packed_W, column, reverse = (
        matrix(memory, table, cell + CELL.packed_W),
        table[cell + CELL.h_column],
        table[cell + CELL.reverse],
    )
    tanh_c, special = matrix(memory, table, cell + CELL.tanh_c), table[cell + CELL.special] != 0
    keeps = table[cell + CELL.keeps] != 0
    h_0 = matrix(theta if table[cell + CELL.learned] else memory, table, cell + CELL.h_0)
    c_0 = matrix(theta if table[cell + CELL.learned] else memory, table, cell + CELL.c_0)
    P = h_0.shape[1]
    x_size = packed_W.shape[0] - P
    # c_0 lies behind the packed rows, or where all else of its sequence lies.
    origin = c.shape[0] - ends.size + 1 + s if keeps else first
    zero = np.int64(0)  # a literal would be compiled for separately
    _copy_state(c_0, s, c, origin, e - s, zero)
    x_mask, h_mask = (
        matrix(memory, table, cell + CELL.x_mask),
        matrix(memory, table, cell + CELL.h_mask),
    )
    T = ends[s + 1] - ends[s]
    t = T - 1 if reverse else 0
    n, continued, before = running(ends, t, s, e, zero), zero, zero
    p = ends[e] - base - n if reverse else ends[s] - base
    for _ in range(T):
        q = p if keeps else first
        if x.size == 0:
            standardise(values, itemsize, starts, s, t, mean, inverse_scale, xh, q, x_size, n)
        else:
            _copy_inputs(x, p, xh, q, n, x_size)
        _copy_state(h_0, s + continued, xh, q + continued, n - continued, x_size)
        if special:
            mask_rows(x_mask, s, xh, q, n, zero)
            mask_rows(h_mask, s, xh, q, n, x_size)
        # Of zeros nothing is multiplied.
        K = x_size if continued == 0 and table[cell + CELL.zero] else x_size + P
        product(xh, q, K, packed_W, gates, q, n, SET)
        now, t = t, t - 1 if reverse else t + 1
        n_next = running(ends, t, s, e, n) if 0 <= t < T else 0
        p_next = p - n_next if reverse else p + n
        following = p_next if keeps else first
        at, n_following = p if every_step else first, min(n, n_next)
        n_written = n_following if keeps else n  # the last h_t, too: it is the state
        for fresh in range(2):
            r, m = (continued, n - continued) if fresh else (0, continued)
            if m == 0:
                continue
            previous = origin + r if fresh else before
            if not special:
                activate(
                    *(gates, q + r, c, previous, c, q + r, tanh_c, h, at + r, column),
                    *(xh, x_size, following + r, n_written - r, m),
                )
            else:
                # What has passed since the step before, which backwards is the later one.
                gap = (-1 if fresh else now + 1) if reverse else now
                advance(
                    *(theta, memory, memory, table, cell, decay, starts),
                    *(s + r, now, gap, previous),
                    *(q + r, at + r, x_size, following + r, min(max(n_written - r, 0), m), m),
                )
        if special:
            r = n_following
            keep_ends(memory, table, cell, s + r, at + r, q + r, n - r)
        before, p, n, continued = q, p_next, n_next, n_following


@helper
def _copy_state(state, i, A, row, n, column):
    """Write n rows of ``state``, from row i on, into A; or its only row n times."""
    for r in range(n):
        source = i + r if state.shape[0] > 1 else 0
        for j in range(state.shape[1]):
            A[row + r, column + j] = state[source, j]


@helper
def _copy_inputs(x, p, xh, q, n, x_size):
    """Write n rows of the layer below's outputs, and ones for the bias, into rows of xh."""
    F = x.shape[1]
    for r in range(n):
        for j in range(F):
            xh[q + r, j] = x[p + r, j]
        if x_size > F:
            xh[q + r, F] = 1


@linked("train")
def backward_cell(theta, memory, table, cell, inputs, s, e, base, every_step, task):
    """Backpropagation through time for sequences s to e: a cell's gates become da."""
    starts, ends, decay = inputs.starts, inputs.ends, inputs.decay
    gates, c = matrix(memory, table, cell + CELL.gates), matrix(memory, table, cell + CELL.c)
    dh, dc = matrix(memory, table, cell + CELL.dh), matrix(memory, table, cell + CELL.dc)
    tanh_c, packed_W_hT = (
        matrix(memory, table, cell + CELL.tanh_c),
        matrix(memory, table, cell + CELL.packed_W_hT),
    )
    d_out, dx = matrix(memory, table, cell + CELL.d_out), matrix(memory, table, cell + CELL.dx)
    column, divisor, reverse = (
        table[cell + CELL.column],
        table[cell + CELL.divisor],
        table[cell + CELL.reverse],
    )
    origin, special = c.shape[0] - ends.size + 1 + s, table[cell + CELL.special] != 0
    zero = np.int64(0)  # a literal would be compiled for separately
    extra = matrix(memory, table, cell + CELL.extra)
    h_mask = matrix(memory, table, cell + CELL.h_mask)
    learned, passes = table[cell + CELL.learned] != 0, table[cell + CELL.passes] != 0
    fill_zeros(extra, EXTRA * task, EXTRA, zero, dc.shape[1])
    if not passes:
        fill_zeros(dh, s, e - s, zero, dh.shape[1])
        fill_zeros(dc, s, e - s, zero, dc.shape[1])
    if not every_step:
        _add_gradient(d_out, s, column, divisor, dh, s, e - s)
    T = ends[s + 1] - ends[s]
    t = 0 if reverse else T - 1
    n, continued, later = running(ends, t, s, e, zero), zero, zero
    p = ends[s] - base if reverse else ends[e] - base - n
    for _ in range(T):
        product(gates, later, gates.shape[1], packed_W_hT, dh, s, continued, SET)
        if special:
            add_kept(memory, table, cell, s, continued)
            mask_rows(h_mask, s, dh, s, continued, zero)
        if every_step:
            _add_gradient(d_out, p, column, divisor, dh, s, n)
        now, t = t, t + 1 if reverse else t - 1
        n_next = running(ends, t, s, e, n) if 0 <= t < T else 0
        p_next = p + n if reverse else p - n_next
        later, continued = p, min(n, n_next)
        for first in range(2):  # of those that go on, and of those whose c_{t-1} is c_0
            r, m = (continued, n - continued) if first else (0, continued)
            if m == 0:
                continue
            previous = origin + r if first else p_next
            if not special:
                differentiate(gates, p + r, c, previous, tanh_c, dh, dc, s + r, m)
            else:
                gap = (-1 if first else now + 1) if reverse else now
                retreat(
                    *(theta, memory, table, cell, decay, starts, s + r, now, gap, previous),
                    *(p + r, task, m),
                )
        if learned or passes:
            r, m = continued, n - continued
            product(gates, p + r, gates.shape[1], packed_W_hT, dh, s + r, m, SET)
            if special:
                add_kept(memory, table, cell, s + r, m)
                mask_rows(h_mask, s + r, dh, s + r, m, zero)
        if learned:
            for row in range(s + continued, s + n):
                for j in range(dh.shape[1]):
                    extra[EXTRA * task + H_0, j] += dh[row, j]
                for j in range(dc.shape[1]):
                    extra[EXTRA * task + C_0, j] += dc[row, j]
        p, n = p_next, n_next
    if dx.size > 0:
        packed_W_xT = matrix(memory, table, cell + CELL.packed_W_xT)
        first, n_rows = ends[s] - base, ends[e] - ends[s]
        how = SET if table[cell + CELL.last] else ADD  # the last direction comes first here
        product(gates, first, gates.shape[1], packed_W_xT, dx, first, n_rows, how)
        if special:
            x_mask = matrix(memory, table, cell + CELL.x_mask)
            t, n, p = 0, 0 if table[cell + CELL.second] else e - s, first
            while n > 0:  # once, when both directions have added theirs
                mask_rows(x_mask, s, dx, p, n, zero)
                t, p = t + 1, p + n
                n = running(ends, t, s, e, n)


@helper
def _add_gradient(d_out, p, column, divisor, dh, row, n):
    """Add what reaches h of n sequences from the layer's outputs, rows p, to rows of dh."""
    half = type(dh[0, 0])(0.5)
    for r in range(n):
        for j in range(dh.shape[1]):
            d = d_out[p + r, column + j]
            dh[row + r, j] += half * d if divisor == 2 else d

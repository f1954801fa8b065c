"""One block of sequences through one LSTM layer and its head, serial.

A batch holds its sequences in order of falling length, so that those of a block still
running at step t are its first ones. What a block computes lies in packed rows: step
after step, and inside a step the running sequences together. There is no padding: a
finished sequence costs nothing. Block ``s:e`` owns the rows ends[s]:ends[e], where
ends[i] is the number of time steps of all sequences before i. The buffers of a training
step hold a few blocks at a time, a wave, and begin with row ``base``.

The equations' numbers are those of cell.py.
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cell import cell_backward, cell_forward
from numba_lstm.cpu.matmul import (
    ADD,
    SET,
    add_transposed_product,
    pack,
    pack_transposed,
    panel_width,
    product,
)
from numba_lstm.losses import loss_rows
from numba_lstm.vectors import lanes, load, read_real, store

_LARGEST = 1e18


@helper
def standardise(memory, itemsize, source, mean, inverse_scale, xh, row):
    """Write row ``source`` of the inputs, and the bias's one, into a row of xh."""
    F = mean.size
    first = source * F * itemsize
    for j in range(F):
        # The difference is formed in float64 before it is rounded.
        z = (read_real(memory, first + j * itemsize, itemsize) - mean[j]) * inverse_scale[j]
        # Still finite in float32, as are sums of it: no NaN from inf - inf.
        xh[row, j] = min(max(z, -_LARGEST), _LARGEST)
    xh[row, F] = 1


@helper(inline=True)
def _read_forward(gates, a, H, c, before, j, n):
    """Load what equations (2) to (4) need for units j to j+n of one row."""
    return (
        load(gates, a + j, n),
        load(gates, a + H + j, n),
        load(gates, a + 2 * H + j, n),
        load(gates, a + 3 * H + j, n),
        load(c, before + j, n),
    )


@helper(inline=True)
def _write_forward(given, gates, a, H, c, now, tanh_c, q, h, at, xh, following, j, n):
    """Equations (2) to (4) for units j to j+n of one row, from what was loaded."""
    i, f, g, o, c_t, tanh_c_t, h_t = cell_forward(*given)
    if tanh_c is not None:
        store(i, gates, a + j, n)
        store(f, gates, a + H + j, n)
        store(g, gates, a + 2 * H + j, n)
        store(o, gates, a + 3 * H + j, n)
        store(tanh_c_t, tanh_c, q + j, n)
    store(c_t, c, now + j, n)
    store(h_t, h, at + j, n)
    if following >= 0:
        store(h_t, xh, following + j, n)


@helper
def activate(gates, q, c, before, now, tanh_c, h, at, xh, x_size, following, n_following, n):
    """Equations (2) to (4) for n rows: pre-activations become i, f, g, o, c and h.

    Rows q of gates and tanh_c, ``before`` of c for c_{t-1} and ``now`` for c_t, ``at``
    of h; of the first ``n_following`` h_t goes to xh, too, from row ``following`` on
    behind the ``x_size`` inputs, as part of the next step's. Without ``tanh_c`` the
    gates are not kept.
    """
    H, R, L = h.shape[1], xh.shape[1], lanes(h)
    end, n_end = _last_vector(H, L)
    for r in range(n):
        a, row = (q + r) * 4 * H, (q + r) * H
        c_prev, c_row, h_row = (before + r) * H, (now + r) * H, (at + r) * H
        then = (following + r) * R + x_size if r < n_following else -1
        given = _read_forward(gates, a, H, c, c_prev, end, n_end)
        for j in range(0, end, L):
            _write_forward(
                _read_forward(gates, a, H, c, c_prev, j, L),
                *(gates, a, H, c, c_row, tanh_c, row, h, h_row, xh, then, j, L),
            )
        _write_forward(given, gates, a, H, c, c_row, tanh_c, row, h, h_row, xh, then, end, n_end)


@helper
def _last_vector(H, L):
    """Where the last vector of a row of H units begins, and how many lanes it has.

    It overlaps the one before it, rather than to be a part of a vector, where H is not a
    multiple of the L lanes: so it is loaded before that one is written.
    """
    return max(H - L, 0), min(H, L)


@helper(inline=True)
def _read_backward(gates, a, H, c, before, tanh_c, q, dh, dc, row, j, n):
    """Load what equations (5) to (7) need for units j to j+n of one row."""
    return (
        load(gates, a + j, n),
        load(gates, a + H + j, n),
        load(gates, a + 2 * H + j, n),
        load(gates, a + 3 * H + j, n),
        load(c, before + j, n),
        load(tanh_c, q + j, n),
        load(dh, row + j, n),
        load(dc, row + j, n),
    )


@helper(inline=True)
def _write_backward(given, gates, a, H, dc, row, j, n):
    """Equations (5) to (7) for units j to j+n of one row, from what was loaded."""
    da_i, da_f, da_g, da_o, dc_prev = cell_backward(*given)
    store(da_i, gates, a + j, n)
    store(da_f, gates, a + H + j, n)
    store(da_g, gates, a + 2 * H + j, n)
    store(da_o, gates, a + 3 * H + j, n)
    store(dc_prev, dc, row + j, n)


@helper
def differentiate(gates, q, c, before, tanh_c, dh, dc, at, n):
    """Equations (5) to (7) for n rows: the gates become da, dc moves to t-1."""
    H, L = dh.shape[1], lanes(dh)
    end, n_end = _last_vector(H, L)
    for r in range(n):
        a, row, c_prev, d_row = (q + r) * 4 * H, (q + r) * H, (before + r) * H, (at + r) * H
        given = _read_backward(gates, a, H, c, c_prev, tanh_c, row, dh, dc, d_row, end, n_end)
        for j in range(0, end, L):
            _write_backward(
                _read_backward(gates, a, H, c, c_prev, tanh_c, row, dh, dc, d_row, j, L),
                *(gates, a, H, dc, d_row, j, L),
            )
        _write_backward(given, gates, a, H, dc, d_row, end, n_end)


@helper
def _running(ends, t, s, n):
    """How many of the n sequences from s on run at step t."""
    while n > 0 and ends[s + n] - ends[s + n - 1] <= t:
        n -= 1
    return n


@helper
def forward_block(work, inputs, s, e, base, every_step):
    """Forward pass of sequences s to e: fills xh, gates, c, tanh_c and h of ``work``.

    With ``every_step`` row p of h is h_t of packed row p, else row i is the last
    hidden state of sequence i.
    """
    # Taken out of the tuples once: each time counts a reference, atomically.
    xh, gates, c, tanh_c, h = work.xh, work.gates, work.c, work.tanh_c, work.h
    memory, itemsize, starts, ends, mean, inverse_scale = inputs
    packed_W = work.packed_W
    H, x_size, n, p = h.shape[1], mean.size + 1, e - s, ends[s] - base
    before = c.shape[0] - starts.size + s  # c_0 lies behind the packed rows
    for r in range(n):
        xh[p + r, x_size : x_size + H] = 0  # h_0
        c[before + r, :] = 0
    t = 0
    while n > 0:
        for r in range(n):
            source, row = starts[s + r] + t, p + r
            standardise(memory, itemsize, source, mean, inverse_scale, xh, row)
        K = x_size + H if t > 0 else x_size
        product(xh, p, K, packed_W, gates, p, n, SET)
        following, n_following = p + n, _running(ends, t + 1, s, n)
        at = base + p if every_step else s
        activate(
            *(gates, p, c, before, p, tanh_c, h, at, xh, x_size),
            *(following, n_following, n),
        )
        before, p, n = p, following, n_following
        t += 1


@helper
def predict_block(work, inputs, b_y, s, e, first, per_step):
    """Forward pass of sequences s to e that keeps nothing but its outputs.

    Each sequence has one row everywhere, from row ``first`` on. Each number is computed
    as in :func:`forward_block`, to the last bit.
    """
    xh, gates, c, h, out = work.xh, work.gates, work.c, work.h, work.out
    memory, itemsize, starts, ends, mean, inverse_scale = inputs
    packed_W, packed_W_yT = work.packed_W, work.packed_W_yT
    H, x_size, n, p = h.shape[1], mean.size + 1, e - s, ends[s]
    for q in range(first, first + n):
        c[q, :] = 0
    t = 0
    while n > 0:
        for r in range(n):
            source, row = starts[s + r] + t, first + r
            standardise(memory, itemsize, source, mean, inverse_scale, xh, row)
        K = x_size + H if t > 0 else x_size
        product(xh, first, K, packed_W, gates, first, n, SET)
        activate(gates, first, c, first, first, None, h, first, xh, x_size, first, n, n)
        if per_step:
            outputs(h, first, packed_W_yT, b_y, out, p, n)
        t, p = t + 1, p + n
        n = _running(ends, t, s, n)
    if not per_step:
        outputs(h, first, packed_W_yT, b_y, out, s, e - s)


@helper
def outputs(h, row, packed_W_yT, b_y, out, q, n):
    """Outputs q to q+n from rows ``row`` on of h: out = h W_y^T + b_y."""
    for r in range(q, q + n):
        for k in range(b_y.size):  # not out[r] = b_y: its error message compiles for 1.6 s
            out[r, k] = b_y[k]
    product(h, row, h.shape[1], packed_W_yT, out, q, n, ADD)


@helper
def head_block(work, b_y, ends, s, e, per_step, targets):
    """Outputs, losses and their gradients of sequences s to e."""
    first, last = (ends[s], ends[e]) if per_step else (s, e)
    outputs(work.h, first, work.packed_W_yT, b_y, work.out, first, last - first)
    loss_rows(
        *(targets.kind, targets.parameter, work.out, targets.y, targets.weight),
        *(work.d_out, work.row_loss, first, last),
    )


@helper
def backward_block(work, ends, s, e, base, per_step):
    """Backpropagation through time for sequences s to e: ``work.gates`` becomes da."""
    # Taken out of the tuple once: each time counts a reference, atomically.
    gates, c, tanh_c, d_out = work.gates, work.c, work.tanh_c, work.d_out
    dh, dc = work.dh, work.dc
    packed_W_hT, packed_W_y = work.packed_W_hT, work.packed_W_y
    H, K = dh.shape[1], d_out.shape[1]
    # Of type int64 from the start: as a literal it would be compiled for separately.
    later, p_later = np.int64(0), ends[e] - base
    n = _starting_at(ends, ends[s + 1] - ends[s] - 1, s, e, later)
    for t in range(ends[s + 1] - ends[s] - 1, -1, -1):
        p = p_later - n
        if later > 0:
            product(gates, p_later, 4 * H, packed_W_hT, dh, s, later, SET)
            if per_step:
                product(d_out, base + p, K, packed_W_y, dh, s, later, ADD)
        if n > later:  # these sequences end here
            q = base + p if per_step else s
            product(d_out, q + later, K, packed_W_y, dh, s + later, n - later, SET)
            for row in range(s + later, s + n):
                dc[row, :] = 0
        n_before = _starting_at(ends, t - 1, s, e, n)
        before = p - n_before if t > 0 else c.shape[0] - ends.size + 1 + s
        differentiate(gates, p, c, before, tanh_c, dh, dc, s, n)
        later, p_later, n = n, p, n_before


@helper
def _starting_at(ends, t, s, e, n):
    """How many of the sequences s to e run at step t, if n of them run at t + 1."""
    while n < e - s and ends[s + n + 1] - ends[s + n] > t:
        n += 1
    return n


@helper
def _share(n_columns, itemsize, task, n_tasks):
    """Columns of a matrix, whole panels of them, that are one task's."""
    whole = panel_width(itemsize)
    n_panels = (n_columns + whole - 1) // whole
    first, last = n_panels * task // n_tasks, n_panels * (task + 1) // n_tasks
    return first * whole, min(last * whole, n_columns)


@helper
def pack_share(weights, work, task, n_tasks):
    """Pack one task's share of the weights that a forward pass needs."""
    W, W_y = weights.W, weights.W_y
    first, last = _share(W.shape[1], W.itemsize, task, n_tasks)
    pack(W, work.packed_W, first, last)
    first, last = _share(W_y.shape[0], W.itemsize, task, n_tasks)
    pack_transposed(W_y, work.packed_W_yT, first, last)


@helper
def pack_backward_share(weights, work, task, n_tasks):
    """Pack one task's share of the weights that a backward pass needs."""
    W_y = weights.W_y
    H = W_y.shape[1]
    first, last = _share(H, W_y.itemsize, task, n_tasks)
    pack(W_y, work.packed_W_y, first, last)
    pack_transposed(weights.W[weights.W.shape[0] - H :], work.packed_W_hT, first, last)


@helper
def gradient_share(work, grad, ends, s, e, per_step, task, n_tasks):
    """One task's share of the weights' gradient, equation (8), over sequences s to e.

    Tasks have columns of their own: none needs a copy, and every sum runs over the
    whole batch in one order, wave after wave.
    """
    dW, dW_y, db_y, scratch = grad.W, grad.W_y, grad.b_y, work.scratch[task]
    n_rows = ends[e] - ends[s]
    q, q_end = (ends[s], ends[e]) if per_step else (s, e)
    d_out, h = work.d_out[q:q_end], work.h[q:q_end]
    first, last = _share(dW.shape[1], dW.itemsize, task, n_tasks)
    first_y, last_y = _share(dW_y.shape[1], dW.itemsize, task, n_tasks)
    if s == 0:
        dW[:, first:last] = 0
        dW_y[:, first_y:last_y] = 0
        if task == 0:
            db_y[:] = 0
    add_transposed_product(work.xh, work.gates, n_rows, dW, first, last, scratch)
    add_transposed_product(d_out, h, q_end - q, dW_y, first_y, last_y, scratch)
    if task == 0:
        for r in range(q_end - q):
            for k in range(db_y.size):
                db_y[k] += d_out[r, k]

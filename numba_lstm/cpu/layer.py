"""One block of sequences through one LSTM layer and its head, serial.

A batch holds its sequences in order of falling length, so that the sequences of a
block still running at step t are its first ``n``. Everything that a step computes
lies in packed rows: block after block, and inside a block step after step, the
``n`` running sequences of a step together. There is no padding anywhere: the rows
of a batch are exactly its time steps, and a finished sequence costs nothing.

Block ``s:e`` of a batch with ``starts`` owns the packed rows starts[s]:starts[e].
The equations' numbers are those of cell.py.
"""

from __future__ import annotations

from numba_lstm._jit import kernel
from numba_lstm.cell import cell_backward, cell_forward
from numba_lstm.cpu.matmul import add_product, add_transposed_product
from numba_lstm.intrinsics import borrow

_LARGEST = 1e18


@kernel
def pack_inputs(values, starts, mean, inverse_scale, block_rows, x):
    """Standardise a batch's inputs into packed rows, a one behind each.

    Parameters
    ----------
    values : ndarray of shape (S, F)
        Inputs, sequence after sequence, in any floating dtype.
    starts : ndarray of shape (B + 1,)
        Where each sequence begins in ``values``.
    mean, inverse_scale : ndarray of shape (F,)
        float64; the difference is formed in float64 before it is rounded. What is
        larger than 1e18 then counts as 1e18.
    block_rows : int
        Sequences in a block.
    x : ndarray of shape (S, F + 1)
        Receives the packed rows.
    """
    B, F = starts.size - 1, values.shape[1]
    for s in range(0, B, block_rows):
        n = min(block_rows, B - s)
        p = starts[s]
        for t in range(starts[s + 1] - starts[s]):
            while starts[s + n] - starts[s + n - 1] <= t:
                n -= 1
            for r in range(n):
                source = starts[s + r] + t
                for j in range(F):
                    z = (values[source, j] - mean[j]) * inverse_scale[j]
                    # Still finite in float32, as are sums of it: no NaN from inf - inf.
                    x[p, j] = min(max(z, -_LARGEST), _LARGEST)
                x[p, F] = 1
                p += 1


@kernel
def _activate(a_i, a_f, a_g, a_o, c_prev, c, tanh_c, h):
    """Equations (2) to (4) for one row: the pre-activations become i, f, g, o."""
    for j in range(h.size):
        i, f, g, o, c_j, tanh_c_j, h_j = cell_forward(a_i[j], a_f[j], a_g[j], a_o[j], c_prev[j])
        a_i[j], a_f[j], a_g[j], a_o[j] = i, f, g, o
        c[j], tanh_c[j], h[j] = c_j, tanh_c_j, h_j


@kernel
def _activate_row(work, q, c_row, c_prev):
    """Equations (2) to (4) for row q of the workspace, with c_t in row ``c_row``."""
    H = work.h.shape[1]
    _activate(
        borrow(work.gates, (4 * q) * H, H),
        borrow(work.gates, (4 * q + 1) * H, H),
        borrow(work.gates, (4 * q + 2) * H, H),
        borrow(work.gates, (4 * q + 3) * H, H),
        c_prev,
        borrow(work.c, c_row * H, H),
        borrow(work.tanh_c, q * H, H),
        borrow(work.h, q * H, H),
    )


@kernel
def _differentiate(i, f, g, o, c_prev, tanh_c, dh, dc):
    """Equations (5) to (7) for one row: the gates become da, dc moves to t-1."""
    for j in range(dh.size):
        da_i, da_f, da_g, da_o, dc_j = cell_backward(
            i[j], f[j], g[j], o[j], c_prev[j], tanh_c[j], dh[j], dc[j]
        )
        i[j], f[j], g[j], o[j], dc[j] = da_i, da_f, da_g, da_o, dc_j


@kernel
def forward_block(work, starts, s, e, per_step):
    """Forward pass of sequences s to e: fills gates, c, tanh_c and h of ``work``.

    Also notes in ``work.head_row`` the packed row behind each output: with
    ``per_step`` output q is step ``q - starts[i]`` of sequence i, else output i is
    the last step of sequence i.
    """
    x, gates, c, h = work.x, work.gates, work.c, work.h
    H = h.shape[1]
    n, p, before = e - s, starts[s], starts[s]
    for t in range(starts[s + 1] - starts[s]):
        while starts[s + n] - starts[s + n - 1] <= t:
            n -= 1
        gates[p : p + n] = 0
        add_product(x, p, work.packed_W_x, gates, p, n)
        if t > 0:
            add_product(h, before, work.packed_W_h, gates, p, n)
        for r in range(n):
            q = p + r
            c_prev = borrow(c, (before + r) * H, H) if t > 0 else borrow(work.zeros, 0, H)
            _activate_row(work, q, q, c_prev)
            if per_step:
                work.head_row[starts[s + r] + t] = q
            elif starts[s + r + 1] - starts[s + r] == t + 1:
                work.head_row[s + r] = q
        before = p
        p += n


@kernel
def predict_block(work, b_y, starts, s, e, per_step):
    """Forward pass of sequences s to e that keeps nothing but its outputs.

    The gates and h of the sequences have one row each, c has two, used in turn: with
    c_{t-1} and c_t in one place the loop would not run as vector code. Each number is
    computed as in :func:`forward_block`, to the last bit.
    """
    gates, c, h = work.gates, work.c, work.h
    H, B = h.shape[1], h.shape[0]
    n, p = e - s, starts[s]
    for t in range(starts[s + 1] - starts[s]):
        while starts[s + n] - starts[s + n - 1] <= t:
            n -= 1
        gates[s : s + n] = 0
        add_product(work.x, p, work.packed_W_x, gates, s, n)
        if t > 0:
            add_product(h, s, work.packed_W_h, gates, s, n)
        now, before = (t % 2) * B, ((t + 1) % 2) * B
        for q in range(s, s + n):
            c_prev = borrow(c, (before + q) * H, H) if t > 0 else borrow(work.zeros, 0, H)
            _activate_row(work, q, now + q, c_prev)
            if per_step:
                _output(work, b_y, q, starts[q] + t)
            elif starts[q + 1] - starts[q] == t + 1:
                _output(work, b_y, q, q)
        p += n


@kernel
def _output(work, b_y, p, q):
    """Output q from the hidden state in row p: out = h W_y^T + b_y."""
    for k in range(b_y.size):  # not out[q] = b_y: its error message compiles for 1.6 s
        work.out[q, k] = b_y[k]
    add_product(work.h, p, work.packed_W_yT, work.out, q, 1)


@kernel
def head_forward(work, b_y, first, last):
    """Outputs ``first`` to ``last`` from the hidden states that they belong to."""
    for q in range(first, last):
        _output(work, b_y, work.head_row[q], q)


@kernel
def _add_head_gradient(W_y, d_out, q, dh, row):
    """Add what output q sends back to its hidden state: dh[row] += d_out[q] W_y."""
    for k in range(d_out.shape[1]):
        d = d_out[q, k]
        for j in range(dh.shape[1]):
            dh[row, j] += d * W_y[k, j]


@kernel
def backward_block(work, W_y, starts, s, e, per_step):
    """Backpropagation through time for sequences s to e: ``work.gates`` becomes da."""
    gates, c, tanh_c, dh, dc = work.gates, work.c, work.tanh_c, work.dh, work.dc
    H = dh.shape[1]
    n, p = 0, starts[e]
    for t in range(starts[s + 1] - starts[s] - 1, -1, -1):
        running = n
        while n < e - s and starts[s + n + 1] - starts[s + n] > t:
            n += 1
        p -= n
        dh[s + running : s + n] = 0
        dc[s + running : s + n] = 0
        before = p
        if t > 0:  # as many sequences ran at t - 1, and perhaps some shorter ones
            m = n
            while m < e - s and starts[s + m + 1] - starts[s + m] > t - 1:
                m += 1
            before = p - m
        for r in range(n):
            if per_step:
                _add_head_gradient(W_y, work.d_out, starts[s + r] + t, dh, s + r)
            elif r >= running:
                _add_head_gradient(W_y, work.d_out, s + r, dh, s + r)
            q = p + r
            c_prev = borrow(c, (before + r) * H, H) if t > 0 else borrow(work.zeros, 0, H)
            _differentiate(
                borrow(gates, (4 * q) * H, H),
                borrow(gates, (4 * q + 1) * H, H),
                borrow(gates, (4 * q + 2) * H, H),
                borrow(gates, (4 * q + 3) * H, H),
                c_prev,
                borrow(tanh_c, q * H, H),
                borrow(dh, (s + r) * H, H),
                borrow(dc, (s + r) * H, H),
            )
        if t > 0:
            dh[s : s + n] = 0
            add_product(gates, p, work.packed_W_hT, dh, s, n)


@kernel
def weight_gradient(work, dW_x, dW_h, starts, block_rows, first, last, scratch):
    """Equation (8) for columns ``first`` to ``last`` of dW_x and dW_h, over a batch.

    Threads share the columns out among them: none needs a copy of its own, and
    every sum runs over the whole batch in one order. Each has a ``scratch`` of its own.
    """
    B = starts.size - 1
    dW_x[:, first:last] = 0
    dW_h[:, first:last] = 0
    add_transposed_product(work.x, 0, work.gates, 0, starts[B], dW_x, first, last, scratch)
    for s in range(0, B, block_rows):
        e = min(s + block_rows, B)
        n = e - s
        # Row h_{t-1} goes with row da_t, n rows further on. While n stays the same
        # that holds over many steps, which then make one product.
        h_row, da_row, rows = starts[s], starts[s] + n, 0
        for t in range(1, starts[s + 1] - starts[s]):
            running = n
            while starts[s + n] - starts[s + n - 1] <= t:
                n -= 1
            if n < running:
                add_transposed_product(
                    work.h, h_row, work.gates, da_row, rows, dW_h, first, last, scratch
                )
                h_row, da_row = h_row + rows, da_row + rows
                add_transposed_product(
                    work.h, h_row, work.gates, da_row, n, dW_h, first, last, scratch
                )
                h_row, da_row, rows = h_row + running, da_row + n, 0
            else:
                rows += n
        add_transposed_product(work.h, h_row, work.gates, da_row, rows, dW_h, first, last, scratch)


@kernel
def head_gradient(work, dW_y, db_y, n_rows):
    """Gradient of the head's weights and bias over all outputs of a batch."""
    dW_y[:] = 0
    db_y[:] = 0
    for q in range(n_rows):
        p = work.head_row[q]
        for k in range(db_y.size):
            d = work.d_out[q, k]
            db_y[k] += d
            for j in range(dW_y.shape[1]):
                dW_y[k, j] += d * work.h[p, j]

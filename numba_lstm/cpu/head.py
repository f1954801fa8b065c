"""The linear head, of one block of sequences."""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.cpu.matmul import ADD, SET, product
from numba_lstm.cpu.table import HEAD
from numba_lstm.cpu.views import matrix
from numba_lstm.losses import loss_rows


@helper
def outputs(theta, memory, table, row, q, n):
    """Outputs q to q+n of the network from rows ``row`` on of h: out = h W_y^T + b_y."""
    h, out, b_y = (
        matrix(memory, table, HEAD.h),
        matrix(memory, table, HEAD.out),
        matrix(theta, table, HEAD.b_y),
    )
    for r in range(q, q + n):
        for k in range(out.shape[1]):  # not out[r] = b_y: its error message compiles for 1.6 s
            out[r, k] = b_y[0, k]
    product(h, row, h.shape[1], matrix(memory, table, HEAD.packed_W_yT), out, q, n, ADD)


@helper
def head_loss(theta, memory, table, ends, s, e, base, every_step, targets):
    """Outputs, losses and their gradients of sequences s to e."""
    q, n, row = (ends[s], ends[e] - ends[s], ends[s] - base) if every_step else (s, e - s, s)
    outputs(theta, memory, table, row, q, n)
    d_out = matrix(memory, table, HEAD.d_out)
    loss_rows(
        *(targets.kind, targets.parameter, matrix(memory, table, HEAD.out)),
        *(targets.y, targets.weight, d_out),
        *(matrix(memory, table, HEAD.row_loss)[0], q, q + n),
    )
    d_h, packed_W_y = matrix(memory, table, HEAD.d_h), matrix(memory, table, HEAD.packed_W_y)
    product(d_out, q, d_out.shape[1], packed_W_y, d_h, row, n, SET)

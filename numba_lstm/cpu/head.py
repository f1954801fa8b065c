"""The head, of one block of sequences: linear, behind a hidden layer if there is one."""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.activations import tanh
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import ADD, SET, fill_zeros, product
from numba_lstm.cpu.table import HEAD
from numba_lstm.losses import loss_rows
from numba_lstm.memory import matrix


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


@linked("train")
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


@linked("hides")
def hidden_layer(theta, memory, panels, table, row, n):
    """Units of the hidden layer for n rows: h = f(pooled W_1 + b_1)."""
    if not table[HEAD.hides]:
        return
    pooled, h = matrix(memory, table, HEAD.pooled), matrix(memory, table, HEAD.h)
    b, is_tanh = matrix(theta, table, HEAD.b_1), table[HEAD.is_tanh] != 0
    packed = matrix(panels, table, HEAD.packed_W_1)
    product(pooled, row, pooled.shape[1], packed, h, row, n, SET)
    for r in range(row, row + n):
        for j in range(h.shape[1]):
            a = h[r, j] + b[0, j]
            h[r, j] = tanh(a) if is_tanh else max(a, type(a)(0))


@linked("hides", "train")
def hidden_layer_backward(memory, table, row, n, task):
    """Back through :func:`hidden_layer`: d_h becomes the gradient of its argument."""
    if not table[HEAD.hides]:
        return
    h, d_h = matrix(memory, table, HEAD.h), matrix(memory, table, HEAD.d_h)
    db, is_tanh = matrix(memory, table, HEAD.extra_b_1), table[HEAD.is_tanh] != 0
    zero, one = type(h[0, 0])(0), type(h[0, 0])(1)
    fill_zeros(db, task, np.int64(1), np.int64(0), db.shape[1])
    for r in range(row, row + n):
        for j in range(h.shape[1]):
            slope = one - h[r, j] * h[r, j]
            if not is_tanh:
                slope = one if h[r, j] > zero else zero
            d_h[r, j] *= slope
            db[task, j] += d_h[r, j]
    packed = matrix(memory, table, HEAD.packed_W_1T)
    product(d_h, row, h.shape[1], packed, matrix(memory, table, HEAD.d_pooled), row, n, SET)

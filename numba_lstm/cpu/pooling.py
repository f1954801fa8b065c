"""From the outputs of the last layer at every step to one row for each sequence.

    mean, max:   h = mean_t h_t,   h = max_t h_t   (of each unit by itself)
    attention:   u_t = tanh(h_t W_a + b_a),   alpha = softmax_t(u_t v),   h = sum_t alpha_t h_t

over a sequence's own steps. The last is additive attention with a learned query
(Bahdanau, Cho and Bengio, ICLR 2015): whatever lies between them, any step is one away
from the output.
"""

from __future__ import annotations

import math

import numpy as np

from numba_lstm.activations import tanh
from numba_lstm.cpu.cells import running
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import SET, fill_zeros, product
from numba_lstm.cpu.table import HEAD
from numba_lstm.memory import matrix

# Indices into table.POOLING.
NONE, MEAN, MAX, ATTENTION = range(4)


@linked("pools")
def pool(theta, memory, table, ends, s, e, base, first):
    """Pool the steps of sequences s to e into rows from ``first`` on of ``pooled``."""
    kind = table[HEAD.pooling]
    if kind == NONE:
        return
    rows, h = matrix(memory, table, HEAD.rows), matrix(memory, table, HEAD.pooled)
    alpha, latest = matrix(memory, table, HEAD.alpha), matrix(memory, table, HEAD.latest)
    width, zero = h.shape[1], np.int64(0)
    if kind == ATTENTION:
        _attend(theta, memory, table, ends, s, e, base)
    fill_zeros(h, first, e - s, zero, width)
    t, n, p = 0, e - s, ends[s] - base
    while n > 0:
        for r in range(n):
            to, row = first + r, p + r
            if kind == MAX:
                for j in range(width):
                    if t == 0 or rows[row, j] > h[to, j]:
                        h[to, j] = rows[row, j]
                        latest[s + r, j] = t
            else:
                share = alpha[row, 0]
                if kind == MEAN:
                    share = type(share)(1) / type(share)(ends[s + r + 1] - ends[s + r])
                for j in range(width):
                    h[to, j] += share * rows[row, j]
        t, p = t + 1, p + n
        n = running(ends, t, s, e, n)


@linked("attends")
def _attend(theta, memory, table, ends, s, e, base):
    """Fill u and alpha for the steps of sequences s to e."""
    rows, u = matrix(memory, table, HEAD.rows), matrix(memory, table, HEAD.u)
    alpha, sums = matrix(memory, table, HEAD.alpha), matrix(memory, table, HEAD.sums)
    b, v = matrix(theta, table, HEAD.b_a), matrix(theta, table, HEAD.v_a)
    first, n_rows = ends[s] - base, ends[e] - ends[s]
    packed = matrix(memory, table, HEAD.packed_W_a)
    product(rows, first, rows.shape[1], packed, u, first, n_rows, SET)
    for r in range(first, first + n_rows):
        for j in range(u.shape[1]):
            u[r, j] = tanh(u[r, j] + b[0, j])
        score = type(u[0, 0])(0)
        for j in range(u.shape[1]):
            score += u[r, j] * v[0, j]
        alpha[r, 0] = score
    for sweep in range(3):  # the greatest score, the sum of exponentials, the shares
        t, n, p = 0, e - s, first
        while n > 0:
            for r in range(n):
                row, i = p + r, s + r
                if sweep == 0:
                    sums[i, 0] = alpha[row, 0] if t == 0 else max(sums[i, 0], alpha[row, 0])
                elif sweep == 1:
                    alpha[row, 0] = math.exp(alpha[row, 0] - sums[i, 0])
                    sums[i, 1] = alpha[row, 0] + (sums[i, 1] if t > 0 else 0)
                else:
                    alpha[row, 0] /= sums[i, 1]
            t, p = t + 1, p + n
            n = running(ends, t, s, e, n)


@linked("pools", "train")
def unpool(theta, memory, table, ends, s, e, base, task):
    """Pass the gradient of ``pooled`` back to every step of sequences s to e.

    With attention u becomes the gradient of its argument.
    """
    kind = table[HEAD.pooling]
    if kind == NONE:
        return
    d_rows, d_h = matrix(memory, table, HEAD.d_rows), matrix(memory, table, HEAD.d_pooled)
    alpha, latest = matrix(memory, table, HEAD.alpha), matrix(memory, table, HEAD.latest)
    if kind == ATTENTION:
        _attend_backward(theta, memory, table, ends, s, e, base, task)
    t, n, p = 0, e - s, ends[s] - base
    while n > 0:
        for r in range(n):
            row, i = p + r, s + r
            share = alpha[row, 0]
            if kind == MEAN:
                share = type(share)(1) / type(share)(ends[i + 1] - ends[i])
            for j in range(d_h.shape[1]):
                if kind == MAX:
                    d_rows[row, j] = d_h[i, j] if latest[i, j] == t else 0
                elif kind == MEAN:
                    d_rows[row, j] = share * d_h[i, j]
                else:
                    d_rows[row, j] += share * d_h[i, j]
        t, p = t + 1, p + n
        n = running(ends, t, s, e, n)


@linked("attends", "train")
def _attend_backward(theta, memory, table, ends, s, e, base, task):
    """Gradient that reaches the steps by way of alpha; that of b_a and v to ``extra``."""
    rows, u = matrix(memory, table, HEAD.rows), matrix(memory, table, HEAD.u)
    d_rows, d_h = matrix(memory, table, HEAD.d_rows), matrix(memory, table, HEAD.d_pooled)
    alpha, sums = matrix(memory, table, HEAD.alpha), matrix(memory, table, HEAD.sums)
    h, v = matrix(memory, table, HEAD.pooled), matrix(theta, table, HEAD.v_a)
    extra = matrix(memory, table, HEAD.extra)
    number, first, n_rows = type(u[0, 0]), ends[s] - base, ends[e] - ends[s]
    fill_zeros(extra, 2 * task, 2, np.int64(0), extra.shape[1])
    for i in range(s, e):
        total = number(0)  # the sum over t of alpha times its gradient
        for j in range(h.shape[1]):
            total += d_h[i, j] * h[i, j]
        sums[i, 0] = total
    t, n, p = 0, e - s, first
    while n > 0:
        for r in range(n):
            row, i = p + r, s + r
            d_alpha = number(0)
            for j in range(h.shape[1]):
                d_alpha += d_h[i, j] * rows[row, j]
            d_score = alpha[row, 0] * (d_alpha - sums[i, 0])
            for j in range(u.shape[1]):
                extra[2 * task + 1, j] += d_score * u[row, j]
                u[row, j] = d_score * v[0, j] * (number(1) - u[row, j] * u[row, j])
                extra[2 * task, j] += u[row, j]
        t, p = t + 1, p + n
        n = running(ends, t, s, e, n)
    packed = matrix(memory, table, HEAD.packed_W_aT)
    product(u, first, u.shape[1], packed, d_rows, first, n_rows, SET)

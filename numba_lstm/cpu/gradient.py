"""The gradient of the weights: equation (8) for all cells, and the head's."""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import fill_zeros
from numba_lstm.cpu.pooling import ATTENTION
from numba_lstm.cpu.table import (
    B_D,
    C_0,
    CELL,
    EXTRA,
    H_0,
    HEAD,
    NORM,
    PEEPHOLE,
    cell_part,
    n_cells,
)
from numba_lstm.cpu.transposed import add_transposed_product, fill_share
from numba_lstm.memory import matrix


@linked("train")
def gradient_share(
    grad, memory, table, ends, blocks, wave, begin, n_blocks, index, task, n_tasks, fresh, per_step
):
    """One task's share of the weights' gradient over some blocks, or what is left.

    Of blocks from ``begin`` on, of the wave whose first block is ``wave``. Tasks have tiles of
    their own: none needs a copy, and every sum runs over all blocks in one order. ``index`` is
    which scratch to use. With ``fresh`` what was in ``grad`` before is forgotten.
    """
    zero = np.int64(0)  # a literal would be compiled for separately
    s, e = blocks[begin], blocks[begin + n_blocks]
    p, n, share = ends[s] - ends[blocks[wave]], ends[e] - ends[s], (task, n_tasks, index)
    where = blocks, wave, begin, n_blocks
    for k in range(n_cells(table)):
        cell = cell_part(k)
        for i in range(2):
            there, to, of, by = True, cell + CELL.W, cell + CELL.xh, cell + CELL.gates
            if i == 1:
                there = table[cell + CELL.projects] != 0
                to, of, by = cell + CELL.W_r, cell + CELL.hidden, cell + CELL.d_h
            if there:
                _add_share(grad, memory, table, to, of, p, by, p, n, fresh, share)
        if table[cell + CELL.decays]:
            _add_decay_share(grad, memory, table, cell, ends, where, fresh, share)
    q, n_out = (ends[s], n) if per_step else (s, e - s)
    row = p if per_step else s
    for i in range(3):
        there, to, of, a, by, b, n_rows = True, HEAD.W_y, HEAD.d_out, q, HEAD.h, row, n_out
        if i == 1:
            there, to, of, a = table[HEAD.hides] != 0, HEAD.W_1, HEAD.pooled, row
            by, b = HEAD.d_h, row
        elif i == 2:
            there, to, of, a = table[HEAD.pooling] == ATTENTION, HEAD.W_a, HEAD.rows, p
            by, b, n_rows = HEAD.u, p, n
        if there:
            _add_share(grad, memory, table, to, of, a, by, b, n_rows, fresh, share)
    if task > 0:
        return
    db_y, d_out = matrix(grad, table, HEAD.b_y), matrix(memory, table, HEAD.d_out)
    if fresh:
        fill_zeros(db_y, zero, db_y.shape[0], zero, db_y.shape[1])
    for r in range(q, q + n_out):
        for j in range(db_y.size):
            db_y[0, j] += d_out[r, j]
    # The small gradients, of which each block has a part of its own.
    for k in range(n_cells(table)):
        cell = cell_part(k)
        for i in range(5):
            there, to, first = table[cell + CELL.peeps], cell + CELL.peephole, PEEPHOLE
            if i == 1:
                there, to, first = table[cell + CELL.learned], cell + CELL.h_0, H_0
            elif i == 2:
                there, to, first = table[cell + CELL.learned], cell + CELL.c_0, C_0
            elif i == 3:
                there, to, first = table[cell + CELL.decays], cell + CELL.b_d, B_D
            elif i == 4:
                there, to, first = table[cell + CELL.normed], cell + CELL.norm, NORM
            if there:
                extra, stride = cell + CELL.extra, np.int64(EXTRA)
                _add_blocks(grad, memory, table, to, extra, first, stride, where, fresh)
    for i in range(3):
        there, to, of = table[HEAD.pooling] == ATTENTION, HEAD.b_a, HEAD.extra
        first, stride = 0, 2
        if i == 1:
            to, first = HEAD.v_a, 1
        elif i == 2:
            there, to, of, stride = table[HEAD.hides] != 0, HEAD.b_1, HEAD.extra_b_1, 1
        if there:
            _add_blocks(grad, memory, table, to, of, first, stride, where, fresh)


@helper
def _add_share(grad, memory, table, to, A_at, a, B_at, b, n, fresh, share):
    """Add A^T B of n rows, from a and b on, to this task's tiles of a weight's gradient."""
    A, B, dW = (
        matrix(memory, table, A_at),
        matrix(memory, table, B_at),
        matrix(grad, table, to),
    )
    task, n_tasks, index = share
    if fresh:
        fill_share(dW, task, n_tasks)
    scratch = matrix(memory, table, HEAD.scratch)[index]
    add_transposed_product(A, a, B, b, n, dW, task, n_tasks, scratch)


@helper
def _add_decay_share(grad, memory, table, cell, ends, where, fresh, share):
    """The same for what decays with time.

    Block by block, the cells before the first step with the others of their block: in
    this order, however many blocks a wave has.
    """
    blocks, wave, begin, n_blocks = where
    to, of, by = cell + CELL.W_d, cell + CELL.c, cell + CELL.short
    origin = table[cell + CELL.c + 1] - ends.size + 1
    for k in range(2 * n_blocks):
        s, e = blocks[begin + k // 2], blocks[begin + k // 2 + 1]
        row, n_rows = ends[s] - ends[blocks[wave]], ends[e] - ends[s]
        if k % 2:
            row, n_rows = origin + s, e - s
        first = fresh and k == 0
        _add_share(grad, memory, table, to, of, row, by, row, n_rows, first, share)


@helper
def _add_blocks(grad, memory, table, to, of, first, stride, where, fresh):
    """Add what each block has found of a gradient: rows from ``first`` on, of ``stride``."""
    blocks, wave, begin, n_blocks = where
    total, found = matrix(grad, table, to), matrix(memory, table, of)
    if fresh:
        fill_zeros(total, np.int64(0), total.shape[0], np.int64(0), total.shape[1])
    for block in range(begin, begin + n_blocks):
        if blocks[block] < blocks[block + 1]:
            for row in range(total.shape[0]):
                for j in range(total.shape[1]):
                    total[row, j] += found[stride * (block - wave) + first + row, j]


@linked("train")
def add_own_gradients(grad, memory, table, blocks, wave, n_blocks, task, n_tasks, fresh):
    """Add the gradients that the blocks of a wave have of their own, one after another.

    Of some of the weights, which are this task's.
    """
    own = matrix(memory, table, HEAD.own)
    first, last = grad.size * task // n_tasks, grad.size * (task + 1) // n_tasks
    if fresh:
        for j in range(first, last):
            grad[j] = 0
    for block in range(wave, wave + n_blocks):
        if blocks[block] < blocks[block + 1]:
            for j in range(first, last):
                grad[j] += own[block - wave, j]

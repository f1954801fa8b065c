"""The gradient of the weights: equation (8) for all cells, and the head's."""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.matmul import add_transposed_product, fill_zeros, share_of
from numba_lstm.cpu.pooling import ATTENTION
from numba_lstm.cpu.table import CELL, HEAD, cell_part, n_cells
from numba_lstm.cpu.views import matrix


@helper
def gradient_share(grad, memory, table, ends, blocks, first_block, per_step, task, n_tasks):
    """One task's share of the weights' gradient over a wave: n_tasks blocks, or what is left.

    Tasks have columns of their own: none needs a copy, and every sum runs over the
    whole batch in one order, wave after wave.
    """
    scratch = matrix(memory, table, HEAD.scratch)[task]
    zero = np.int64(0)  # a literal would be compiled for separately
    n_blocks = min(n_tasks, blocks.size - 1 - first_block)
    s, e = blocks[first_block], blocks[first_block + n_blocks]
    attends = table[HEAD.pooling] == ATTENTION
    for k in range(n_cells(table) + 1 + attends):
        if k < n_cells(table):
            part = cell_part(k)
            A, B = matrix(memory, table, part + CELL.xh), matrix(memory, table, part + CELL.gates)
            a, b, n, dW = zero, zero, ends[e] - ends[s], matrix(grad, table, part + CELL.W)
        elif k == n_cells(table) + 1:
            A, B = matrix(memory, table, HEAD.rows), matrix(memory, table, HEAD.u)
            a, b, n, dW = zero, zero, ends[e] - ends[s], matrix(grad, table, HEAD.W_a)
        else:
            A, B = matrix(memory, table, HEAD.d_out), matrix(memory, table, HEAD.h)
            a, b, n = (ends[s], zero, ends[e] - ends[s]) if per_step else (s, s, e - s)
            dW = matrix(grad, table, HEAD.W_y)
        first, last = share_of(dW.shape[1], dW.itemsize, task, n_tasks)
        if first_block == 0:
            fill_zeros(dW, zero, dW.shape[0], first, last)
        add_transposed_product(A, a, B, b, n, dW, first, last, scratch)
    if task == 0:
        db_y, d_out = matrix(grad, table, HEAD.b_y), matrix(memory, table, HEAD.d_out)
        if first_block == 0:
            fill_zeros(db_y, zero, db_y.shape[0], zero, db_y.shape[1])
        q, q_end = (ends[s], ends[e]) if per_step else (s, e)
        for r in range(q, q_end):
            for j in range(db_y.size):
                db_y[0, j] += d_out[r, j]
        # The small gradients, of which each block has a part of its own.
        for k in range(2 * n_cells(table) + 2):
            cell = cell_part(k // 2)
            if k >= 2 * n_cells(table):
                there, of, stride = attends, HEAD.extra, 2
                to, first = (HEAD.v_a, 1) if k % 2 else (HEAD.b_a, 0)
            elif k % 2:
                there, of, stride = table[cell + CELL.learned] != 0, cell + CELL.extra, 5
                to, first = cell + CELL.d_initial, 3
            else:
                there, of, stride = table[cell + CELL.peeps] != 0, cell + CELL.extra, 5
                to, first = cell + CELL.peephole, 0
            if there:
                _add_blocks(
                    *(grad, memory, table, to, of, first, stride),
                    *(blocks, first_block, n_blocks),
                )


@helper
def _add_blocks(grad, memory, table, to, of, first, stride, blocks, first_block, n_blocks):
    """Add what each block has found of a gradient: rows from ``first`` on, of ``stride``."""
    total, found = matrix(grad, table, to), matrix(memory, table, of)
    if first_block == 0:
        fill_zeros(total, np.int64(0), total.shape[0], np.int64(0), total.shape[1])
    for k in range(n_blocks):
        if blocks[first_block + k] < blocks[first_block + k + 1]:
            for row in range(total.shape[0]):
                for j in range(total.shape[1]):
                    total[row, j] += found[stride * k + first + row, j]

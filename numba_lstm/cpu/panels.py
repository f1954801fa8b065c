"""The weights in panels, as the products take them."""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.cpu.matmul import pack, pack_transposed, share_of
from numba_lstm.cpu.table import CELL, HEAD, cell_part, n_cells
from numba_lstm.cpu.views import matrix


@helper
def pack_share(theta, memory, table, task, n_tasks):
    """Pack one task's share of the weights that a forward pass needs."""
    for k in range(n_cells(table)):
        W = matrix(theta, table, cell_part(k) + CELL.W)
        first, last = share_of(W.shape[1], W.itemsize, task, n_tasks)
        pack(W, matrix(memory, table, cell_part(k) + CELL.packed_W), first, last)
    W_y = matrix(theta, table, HEAD.W_y)
    first, last = share_of(W_y.shape[0], W_y.itemsize, task, n_tasks)
    pack_transposed(W_y, matrix(memory, table, HEAD.packed_W_yT), first, last)
    packed_W_a = matrix(memory, table, HEAD.packed_W_a)
    if packed_W_a.size > 0:
        first, last = share_of(packed_W_a.shape[1], W_y.itemsize, task, n_tasks)
        pack(matrix(theta, table, HEAD.W_a), packed_W_a, first, last)


@helper
def pack_backward_share(theta, memory, table, task, n_tasks):
    """Pack one task's share of the weights that a backward pass needs."""
    for k in range(n_cells(table)):
        cell = cell_part(k)
        W_h, W_x = matrix(theta, table, cell + CELL.W_h), matrix(theta, table, cell + CELL.W_x)
        first, last = share_of(W_h.shape[0], W_h.itemsize, task, n_tasks)
        pack_transposed(W_h, matrix(memory, table, cell + CELL.packed_W_hT), first, last)
        first, last = share_of(W_x.shape[0], W_x.itemsize, task, n_tasks)
        pack_transposed(W_x, matrix(memory, table, cell + CELL.packed_W_xT), first, last)
    W_y = matrix(theta, table, HEAD.W_y)
    first, last = share_of(W_y.shape[1], W_y.itemsize, task, n_tasks)
    pack(W_y, matrix(memory, table, HEAD.packed_W_y), first, last)
    packed_W_aT = matrix(memory, table, HEAD.packed_W_aT)
    if packed_W_aT.size > 0:
        first, last = share_of(packed_W_aT.shape[1], W_y.itemsize, task, n_tasks)
        pack_transposed(matrix(theta, table, HEAD.W_a), packed_W_aT, first, last)

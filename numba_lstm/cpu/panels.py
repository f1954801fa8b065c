"""The weights in panels, as the products take them."""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import pack, pack_transposed, share_of
from numba_lstm.cpu.table import CELL, HEAD, cell_part, n_cells
from numba_lstm.memory import matrix


@linked()
def pack_share(theta, memory, table, task, n_tasks):
    """Pack one task's share of the weights that a forward pass needs."""
    share = task, n_tasks
    for k in range(n_cells(table)):
        cell = cell_part(k)
        _pack(theta, memory, table, cell + CELL.W, cell + CELL.packed_W, share)
        _pack(theta, memory, table, cell + CELL.W_r, cell + CELL.packed_W_r, share)
        _pack(theta, memory, table, cell + CELL.W_d, cell + CELL.packed_W_d, share)
    _pack_transposed(theta, memory, table, HEAD.W_y, HEAD.packed_W_yT, share)
    _pack(theta, memory, table, HEAD.W_a, HEAD.packed_W_a, share)
    _pack(theta, memory, table, HEAD.W_1, HEAD.packed_W_1, share)


@linked("train")
def pack_backward_share(theta, memory, table, task, n_tasks):
    """Pack one task's share of the weights that a backward pass needs."""
    share = task, n_tasks
    for k in range(n_cells(table)):
        cell = cell_part(k)
        _pack_transposed(theta, memory, table, cell + CELL.W_h, cell + CELL.packed_W_hT, share)
        _pack_transposed(theta, memory, table, cell + CELL.W_x, cell + CELL.packed_W_xT, share)
        _pack_transposed(theta, memory, table, cell + CELL.W_r, cell + CELL.packed_W_rT, share)
        _pack_transposed(theta, memory, table, cell + CELL.W_d, cell + CELL.packed_W_dT, share)
    _pack(theta, memory, table, HEAD.W_y, HEAD.packed_W_y, share)
    _pack_transposed(theta, memory, table, HEAD.W_a, HEAD.packed_W_aT, share)
    _pack_transposed(theta, memory, table, HEAD.W_1, HEAD.packed_W_1T, share)


@helper
def _pack(theta, memory, table, of, to, share):
    """Pack a share of a weight, if there is such."""
    W, packed = matrix(theta, table, of), matrix(memory, table, to)
    if packed.size > 0:
        first, last = share_of(W.shape[1], W.itemsize, *share)
        pack(W, packed, first, last)


@helper
def _pack_transposed(theta, memory, table, of, to, share):
    """The same of its transpose."""
    W, packed = matrix(theta, table, of), matrix(memory, table, to)
    if packed.size > 0:
        first, last = share_of(W.shape[0], W.itemsize, *share)
        pack_transposed(W, packed, first, last)

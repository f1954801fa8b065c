"""Cells that decay with the time between two steps: equation (3d) of cell.py, and back.

Reference: Baytas et al., "Patient Subtyping via Time-Aware LSTM Networks", KDD 2017.
"""

from __future__ import annotations

from numba_lstm._jit import helper
from numba_lstm.activations import tanh
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import ADD, SET, product
from numba_lstm.cpu.table import CELL
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import matrix
from numba_lstm.vectors import constant


@linked("decays")
def decay_cells(theta, memory, panels, table, cell, decay, starts, i, gap, previous, q, n):
    """Make ``begun``, rows from q on, of the cells in rows from ``previous`` on.

    The time that has passed is that of step ``gap``, or none if this is negative.
    """
    c, begun = matrix(memory, table, cell + CELL.c), matrix(memory, table, cell + CELL.begun)
    short, b_d = matrix(memory, table, cell + CELL.short), matrix(theta, table, cell + CELL.b_d)
    H, L, number = c.shape[1], lanes(c), type(c[0, 0])
    whole, rest = H - H % L, H % L
    packed = matrix(panels, table, cell + CELL.packed_W_d)
    product(c, previous, H, packed, short, previous, n, SET)
    for r in range(n):
        change = number(decay[starts[i + r] + gap] if gap >= 0 else 0.0)
        source, to = (previous + r) * H, (q + r) * H
        for j in range(0, whole, L):
            _decay(c, short, source, b_d, change, begun, to, j, L)
        if rest:
            _decay(c, short, source, b_d, change, begun, to, whole, rest)


@helper(inline=True)
def _decay(c, short, source, b_d, change, begun, to, j, n):
    """Equation (3d) for units from j on."""
    part = tanh(load(short, source + j, n) + load(b_d, j, n))
    store(part, short, source + j, n)
    store(load(c, source + j, n) + part * change, begun, to + j, n)


@helper(inline=True)
def _decay_backward(short, row, dc, d_row, change, extra, first, j, n):
    """Gradient of the argument of tanh in (3d), for units from j on."""
    part = load(short, row + j, n)
    d = load(dc, d_row + j, n) * change * (constant(part, 1.0) - part * part)
    store(d, short, row + j, n)
    store(load(extra, first + j, n) + d, extra, first + j, n)


@linked("decays", "train")
def decay_cells_backward(
    theta, memory, table, cell, decay, starts, i, gap, previous, extra_row, n
):
    """Turn the gradient of ``begun`` in rows i of dc into that of the cells before."""
    short, dc = matrix(memory, table, cell + CELL.short), matrix(memory, table, cell + CELL.dc)
    extra = matrix(memory, table, cell + CELL.extra)
    H, L, number = dc.shape[1], lanes(dc), type(dc[0, 0])
    whole, rest = H - H % L, H % L
    for r in range(n):
        change = number(decay[starts[i + r] + gap] if gap >= 0 else 0.0)
        row, d_row = (previous + r) * H, (i + r) * H
        for j in range(0, whole, L):
            _decay_backward(short, row, dc, d_row, change, extra, extra_row * H, j, L)
        if rest:
            _decay_backward(short, row, dc, d_row, change, extra, extra_row * H, whole, rest)
    packed = matrix(memory, table, cell + CELL.packed_W_dT)
    product(short, previous, H, packed, dc, i, n, ADD)

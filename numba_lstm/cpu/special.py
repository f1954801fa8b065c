"""Steps of cells that are other than plain, forward and backward, for rows of a block.

A step goes through what the cell has of these; the equations' numbers are those of cell.py:

    (3d)        c_{t-1} decays by the time that has passed
    (1n)        pre-activations are normalised
    (2) to (4)  gates and cell
    (4n)        the cell is normalised on its way to h
    (4r)        h is projected
    (4z)        some units stay as they were
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.decay import decay_cells, decay_cells_backward
from numba_lstm.cpu.gates import (
    activate,
    activate_special,
    add_peephole_gradient,
    differentiate,
    differentiate_special,
)
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import SET, fill_zeros, product
from numba_lstm.cpu.normalisation import (
    normalise_cell,
    normalise_cell_backward,
    normalise_gates,
    normalise_gates_backward,
)
from numba_lstm.cpu.table import B_D, CELL, EXTRA, HEAD, NORM
from numba_lstm.cpu.zoneout import stay, stay_backward
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import matrix


@helper
def _variant_of(theta, memory, panels, table, cell):
    """What is special about a cell's gates, as gates.py takes it."""
    peephole = matrix(theta if table[cell + CELL.peeps] else memory, table, cell + CELL.peephole)
    limit = matrix(panels, table, HEAD.constants)[0, 0]
    return peephole, limit, table[cell + CELL.coupled] != 0


@linked("special")
def advance(
    theta,
    memory,
    panels,
    table,
    cell,
    decay,
    starts,
    i,
    t,
    gap,
    previous,
    q,
    at,
    x_size,
    following,
    m,
    n,
):
    """One step of n sequences from i on: pre-activations become h and c.

    They are in rows from q on; c_{t-1} is in rows from ``previous`` on, h goes to rows from
    ``at`` on and that of the first m to rows of xh from ``following`` on. ``starts`` and
    ``decay`` are those of the inputs; step ``gap`` has what comes before this one, step t.
    Packed weights are in ``panels``.
    """
    xh, gates = matrix(memory, table, cell + CELL.xh), matrix(memory, table, cell + CELL.gates)
    c, new_c = matrix(memory, table, cell + CELL.c), matrix(memory, table, cell + CELL.new_c)
    h, tanh_c = matrix(memory, table, cell + CELL.h), matrix(memory, table, cell + CELL.tanh_c)
    hidden, norm = (
        matrix(memory, table, cell + CELL.hidden),
        matrix(theta, table, cell + CELL.norm),
    )
    spread, column = matrix(memory, table, cell + CELL.spread), table[cell + CELL.h_column]
    zero, c_prev, before = np.int64(0), c, previous
    if table[cell + CELL.decays]:
        decay_cells(theta, memory, panels, table, cell, decay, starts, i, gap, previous, q, n)
        c_prev, before = matrix(memory, table, cell + CELL.begun), q
    if table[cell + CELL.normed]:
        normal = matrix(memory, table, cell + CELL.normal)
        normalise_gates(gates, q, normal, spread, norm, hidden, n)
    # What is yet to become h waits in ``hidden``.
    staged = hidden.size > 0
    to, row, first, n_then = (hidden, q, zero, zero) if staged else (h, at, column, m)
    if table[cell + CELL.gated]:
        activate_special(
            *(gates, q, c_prev, before, new_c, q, tanh_c, to, row, first),
            *(xh, x_size, following, n_then, n, _variant_of(theta, memory, panels, table, cell)),
        )
    else:
        activate(
            *(gates, q, c_prev, before, new_c, q, tanh_c, to, row, first),
            *(xh, x_size, following, n_then, n),
        )
    if not staged:
        return
    if table[cell + CELL.normed]:
        mean = matrix(memory, table, cell + CELL.mean)
        normalise_cell(gates, q, new_c, mean, spread, norm, tanh_c, hidden, n)
    H, R, width = hidden.shape[1], xh.shape[1], h.shape[1]
    P, new_h, row = H, hidden, q
    if table[cell + CELL.projects]:
        P, new_h, row = h.shape[1], h, at
        packed = matrix(panels, table, cell + CELL.packed_W_r)
        product(hidden, q, H, packed, h, at, n, SET)
    if table[cell + CELL.zones]:
        which = np.int64(1)
        stay(
            *(panels, table, cell, i, t, which, c_prev, before * H, H, new_c, q * H),
            *(c, q * H, H, H, n),
        )
        stay(
            *(panels, table, cell, i, t, zero, xh, q * R + x_size, R, new_h, row * P),
            *(h, at * width + column, width, P, n),
        )
    if not (table[cell + CELL.zones] or table[cell + CELL.projects]):
        _copy(hidden, q, zero, h, at, column, n, P)
    _copy(h, at, column, xh, following, x_size, m, P)


@helper
def _copy(A, a, a_column, B, b, b_column, n, width):
    """Copy n rows of ``width`` numbers."""
    L, from_row, to_row = lanes(A), A.shape[1], B.shape[1]
    for r in range(n):
        source, to = (a + r) * from_row + a_column, (b + r) * to_row + b_column
        for j in range(0, width, L):
            store(load(A, source + j, width - j), B, to + j, width - j)


@linked("special", "train")
def retreat(theta, memory, table, cell, decay, starts, i, t, gap, previous, p, task, n):
    """Back through :func:`advance`, for n sequences from i on, whose step is in rows from p on.

    The gates become da; dh and dc, in rows from i on, become what reaches h_t from within
    the step, which nobody needs, and dc_{t-1}.
    """
    gates, c = matrix(memory, table, cell + CELL.gates), matrix(memory, table, cell + CELL.c)
    dh, dc = matrix(memory, table, cell + CELL.dh), matrix(memory, table, cell + CELL.dc)
    tanh_c, new_c = (
        matrix(memory, table, cell + CELL.tanh_c),
        matrix(memory, table, cell + CELL.new_c),
    )
    norm, spread = (
        matrix(theta, table, cell + CELL.norm),
        matrix(memory, table, cell + CELL.spread),
    )
    extra, first, zero = matrix(memory, table, cell + CELL.extra), EXTRA * task, np.int64(0)
    c_prev, before = c, previous
    if table[cell + CELL.decays]:
        c_prev, before = matrix(memory, table, cell + CELL.begun), p
    if table[cell + CELL.zones]:
        kept_dh = matrix(memory, table, cell + CELL.kept_dh)
        kept_dc = matrix(memory, table, cell + CELL.kept_dc)
        stay_backward(memory, table, cell, i, t, zero, dh, kept_dh, n)
        stay_backward(memory, table, cell, i, t, np.int64(1), dc, kept_dc, n)
    d_hidden = dh
    if table[cell + CELL.projects]:
        d_h, d_hidden = (
            matrix(memory, table, cell + CELL.d_h),
            matrix(memory, table, cell + CELL.d_hidden),
        )
        _copy(dh, i, zero, d_h, p, zero, n, dh.shape[1])
        packed = matrix(memory, table, cell + CELL.packed_W_rT)
        product(dh, i, dh.shape[1], packed, d_hidden, i, n, SET)
    if table[cell + CELL.normed]:
        mean = matrix(memory, table, cell + CELL.mean)
        normalise_cell_backward(
            gates,
            p,
            new_c,
            mean,
            spread,
            norm,
            tanh_c,
            d_hidden,
            dc,
            i,
            extra,
            first + NORM,
            n,
        )
    if table[cell + CELL.gated]:
        variant = _variant_of(theta, memory, memory, table, cell)
        differentiate_special(gates, p, c_prev, before, tanh_c, d_hidden, dc, i, n, variant)
    else:
        differentiate(gates, p, c_prev, before, tanh_c, d_hidden, dc, i, n)
    if table[cell + CELL.peeps]:
        add_peephole_gradient(gates, p, c_prev, before, new_c, extra, first, n)
    if table[cell + CELL.normed]:
        normal = matrix(memory, table, cell + CELL.normal)
        normalise_gates_backward(gates, p, normal, spread, norm, extra, first + NORM, n)
    if table[cell + CELL.zones]:
        add_rows(kept_dc, i, dc, i, n)
    if table[cell + CELL.decays]:
        decay_cells_backward(
            theta, memory, table, cell, decay, starts, i, gap, previous, first + B_D, n
        )


@helper
def add_rows(A, a, B, b, n):
    """Add n rows of A to rows of B, of one width."""
    L, width = lanes(A), A.shape[1]
    for r in range(n):
        source, to = (a + r) * width, (b + r) * width
        for j in range(0, width, L):
            both = load(A, source + j, width - j) + load(B, to + j, width - j)
            store(both, B, to + j, width - j)


@linked("special")
def mask_rows(mask, i, A, row, n, column):
    """Multiply n rows of A, from ``column`` on, by rows of a mask, if there is one."""
    L, width, R = lanes(A), mask.shape[1], A.shape[1]
    if mask.size > 0:
        for r in range(n):
            of, to = (i + r) * width, (row + r) * R + column
            for j in range(0, width, L):
                kept = load(mask, of + j, width - j) * load(A, to + j, width - j)
                store(kept, A, to + j, width - j)


@linked("special")
def keep_ends(memory, table, cell, i, at, q, n):
    """Put what n sequences end with where it is asked for: h of rows ``at``, c of rows q."""
    h_end, c_end = (
        matrix(memory, table, cell + CELL.h_end),
        matrix(memory, table, cell + CELL.c_end),
    )
    if h_end.size > 0:
        h, c = matrix(memory, table, cell + CELL.h), matrix(memory, table, cell + CELL.c)
        zero = np.int64(0)
        _copy(h, at, table[cell + CELL.h_column], h_end, i, zero, n, h_end.shape[1])
        _copy(c, q, zero, c_end, i, zero, n, c_end.shape[1])
    if table[cell + CELL.keeps] and table[cell + CELL.decays]:
        # Of a last step nothing decays: its rows shall add nothing to the gradient.
        short = matrix(memory, table, cell + CELL.short)
        fill_zeros(short, q, n, np.int64(0), short.shape[1])


@linked("special", "train")
def add_kept(memory, table, cell, i, n):
    """Add to dh of n sequences what reaches h_{t-1} of units that stayed as they were."""
    if table[cell + CELL.zones]:
        add_rows(
            *(matrix(memory, table, cell + CELL.kept_dh), i),
            *(matrix(memory, table, cell + CELL.dh), i, n),
        )

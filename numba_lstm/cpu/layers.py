"""One block of sequences through all layers, forward and back, and what joins these."""

from __future__ import annotations

import numpy as np

from numba_lstm.cpu.cells import backward_cell, forward_cell, running
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.table import CELL, cell_part, n_cells
from numba_lstm.memory import matrix

# Which way a skip connection is gone.
FORWARD, BACKWARD = np.bool_(False), np.bool_(True)


@linked()
def forward_layers(theta, memory, table, inputs, s, e, base, first):
    """Forward pass of sequences s to e through all layers: see :func:`forward_cell`."""
    ends = inputs.ends
    for k in range(n_cells(table)):
        cell = cell_part(k)
        every_step = table[cell + CELL.every_step] != 0
        forward_cell(theta, memory, table, cell, inputs, s, e, base, first, every_step)
        if table[cell + CELL.joins]:
            merge_outputs(memory, table, cell, ends, s, e, base, first, every_step)
            skip(memory, table, cell, FORWARD, ends, s, e, base, first, every_step)


@linked("train")
def backward_layers(theta, memory, table, inputs, s, e, base, task):
    """Backpropagation through all layers and time: see :func:`backward_cell`."""
    ends = inputs.ends
    for k in range(n_cells(table) - 1, -1, -1):
        cell = cell_part(k)
        every_step = table[cell + CELL.every_step] != 0
        backward_cell(theta, memory, table, cell, inputs, s, e, base, every_step, task)
        if table[cell + CELL.joins]:
            skip(memory, table, cell, BACKWARD, ends, s, e, base, s, every_step)


@linked("joins")
def merge_outputs(memory, table, cell, ends, s, e, base, first, every_step):
    """Make a layer's outputs of h of its directions, where they are not h itself.

    Called cell by cell.
    """
    if not table[cell + CELL.merges]:
        return
    h, out = matrix(memory, table, cell + CELL.h), matrix(memory, table, cell + CELL.out)
    column, halved = table[cell + CELL.column], table[cell + CELL.divisor] == 2
    adds = table[cell + CELL.second] and column == 0
    half = type(h[0, 0])(0.5)
    row, n_rows = (ends[s] - base, ends[e] - ends[s]) if every_step else (first, e - s)
    for r in range(row, row + n_rows):
        for j in range(h.shape[1]):
            value = half * h[r, j] if halved else h[r, j]
            out[r, column + j] = out[r, column + j] + value if adds else value


@linked("joins")
def skip(memory, table, cell, back, ends, s, e, base, first, every_step):
    """Add a layer's inputs to its outputs, or with ``back`` the outputs' gradient to theirs.

    Rows of the outputs are time steps, or the sequences from ``first`` on. To these belong
    the inputs of the step that each direction ends with: the last, or backwards the first;
    where the directions' outputs are one, half of each.
    """
    # Backwards the last direction comes first, and inputs are masked before this.
    due = not table[cell + CELL.second] if back else table[cell + CELL.last]
    if not (table[cell + CELL.residual] and due):
        return
    x = matrix(memory, table, cell + (CELL.dx if back else CELL.x))
    out = matrix(memory, table, cell + (CELL.d_out if back else CELL.out))
    width, H = x.shape[1], table[cell + CELL.h + 2]
    both = table[cell + CELL.second] != 0 or not table[cell + CELL.last]
    # Columns up to ``onward`` go with the last step, those from ``backward`` on with the first.
    onward, backward = (0, 0) if table[cell + CELL.reverse] else (width, width)
    if both:
        onward, backward = (H, H) if width > H else (width, 0)
    share = type(x[0, 0])(0.5 if onward > backward else 1.0)
    t, n, p = 0, e - s, ends[s] - base
    while n > 0:
        n_next = running(ends, t + 1, s, e, n)
        for r in range(n):
            row = p + r if every_step else first + r
            begin, end = 0, width
            scale = share
            if every_step or (t == 0 and r >= n_next):
                scale = type(x[0, 0])(1.0)
            elif t == 0:
                begin = backward
            elif r >= n_next:
                end = onward
            else:
                continue
            for j in range(begin, end):
                if back:
                    x[p + r, j] += scale * out[row, j]
                else:
                    out[row, j] += scale * x[p + r, j]
        t, p, n = t + 1, p + n, n_next

"""Units that stay as they were: equation (4z) of cell.py, and back.

Which units these are in training is drawn as draws.py says.
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cell import kept_or_new
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.table import HEAD, number_of_cell
from numba_lstm.draws import bound_of, sequence_key, step_key
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import matrix
from numba_lstm.vectors import drawn

_U32 = np.uint32


@helper
def _key(table, cell, i, t, which):
    """Key of the draws for one sequence's h (which 0) or c (1) at one step of one cell."""
    key = sequence_key(table[HEAD.seed], number_of_cell(cell), which, i)
    return step_key(key, t + table[HEAD.first_step])


@helper
def _chances(memory, table, which, like):
    """Bound of what is drawn, and what is added to it, in training or in a prediction."""
    probability = matrix(memory, table, HEAD.constants)[0, 1 + which]
    if table[HEAD.draws]:
        return bound_of(probability), type(like)(0)
    return _U32(0), type(like)(probability)


@linked("zoneout")
def stay(panels, table, cell, i, t, which, old, o, o_width, new, a, to, b, b_width, width, n):
    """Mix rows of h (``which`` is 0) or c (1) of n sequences, from i on, with those before.

    The first ``width`` columns of old, new and to: from their elements o, a and b on, whose
    rows have ``o_width``, ``width`` and ``b_width`` columns.
    """
    L = lanes(new)
    bound, added = _chances(panels, table, which, new[0, 0])
    for r in range(n):
        key = _key(table, cell, i + r, t, which)
        for j in range(0, width, L):
            before, now = (
                load(old, o + r * o_width + j, width - j),
                load(new, a + r * width + j, width - j),
            )
            z = drawn(now, key, _U32(j), bound) + added
            store(kept_or_new(z, before, now), to, b + r * b_width + j, width - j)


@linked("zoneout", "train")
def stay_backward(memory, table, cell, i, t, which, d, kept, n):
    """Part d, rows from i on, between the state before, ``kept``, and the new one."""
    L, width = lanes(d), d.shape[1]
    bound, added = _chances(memory, table, which, d[0, 0])
    for row in range(i, i + n):
        key = _key(table, cell, row, t, which)
        for j in range(0, width, L):
            both = load(d, row * width + j, width - j)
            part = both * (drawn(both, key, _U32(j), bound) + added)
            store(part, kept, row * width + j, width - j)
            store(both - part, d, row * width + j, width - j)

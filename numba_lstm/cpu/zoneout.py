"""Units that stay as they were: equation (4z) of cell.py, and back.

Which units these are in training is drawn from a hash of the batch's seed and of where
they are, rather than kept: it does not depend on threads, and going back draws the same.

References: Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden
Activations", ICLR 2017; the hash is "lowbias32" of Wellons' Hash Function Prospector.
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.cpu.table import CELL, HEAD
from numba_lstm.cpu.views import matrix

_U32 = np.uint32


@helper
def _hash(x):
    x = _U32(x ^ (x >> _U32(16)))
    x = _U32(x * _U32(0x7FEB352D))
    x = _U32(x ^ (x >> _U32(15)))
    x = _U32(x * _U32(0x846CA68B))
    return _U32(x ^ (x >> _U32(16)))


@helper
def _key(table, cell, i, t, which):
    """Key of the draws for one sequence's h (which 0) or c (1) at one step of one cell."""
    key = _hash(_U32(table[HEAD.seed] & 0xFFFFFFFF))
    key = _hash(_U32(key ^ _U32(table[HEAD.seed] >> 32)))
    key = _hash(_U32(key ^ _U32(2 * cell + which)))
    key = _hash(_U32(key ^ _U32(i)))
    return _hash(_U32(key ^ _U32(t + table[HEAD.first_step])))


@helper
def _share(draws, key, j, probability):
    """How much of unit j stays as it was: all or nothing, or its expectation."""
    number = type(probability)
    if not draws:
        return probability
    drawn = _hash(_U32(key ^ _U32(_U32(j) * _U32(0x9E3779B9))))
    return number(1) if number(drawn) < probability * number(4294967296.0) else number(0)


@helper
def stay(memory, table, cell, i, t, c_prev, before, new_c, c, xh, x_size, h, column, q, at, P, n):
    """Mix the cells and the hidden states of n sequences, from i on, with those before.

    ``new_c`` and xh, with h_{t-1} from ``x_size`` on, are in rows from q on, c_{t-1} in rows
    from ``before`` on; c goes to rows from q on, and h is in rows from ``at`` on.
    """
    constants, draws = matrix(memory, table, HEAD.constants), table[HEAD.draws] != 0
    z_h, z_c, one = constants[0, 1], constants[0, 2], type(c[0, 0])(1)
    for r in range(n):
        key = _key(table, cell, i + r, t, 1)
        for j in range(c.shape[1]):
            z = _share(draws, key, j, z_c)
            c[q + r, j] = z * c_prev[before + r, j] + (one - z) * new_c[q + r, j]
        key = _key(table, cell, i + r, t, 0)
        for j in range(P):
            z = _share(draws, key, j, z_h)
            new_h = h[at + r, column + j]
            h[at + r, column + j] = z * xh[q + r, x_size + j] + (one - z) * new_h


@helper
def stay_backward(memory, table, cell, i, t, dh, dc, n):
    """Part dh and dc of n sequences between the states before, ``kept``, and the new ones."""
    constants, draws = matrix(memory, table, HEAD.constants), table[HEAD.draws] != 0
    kept_dh, kept_dc = (
        matrix(memory, table, cell + CELL.kept_dh),
        matrix(memory, table, cell + CELL.kept_dc),
    )
    for which in range(2):
        d, kept = (dc, kept_dc) if which else (dh, kept_dh)
        probability = constants[0, 1 + which]
        for row in range(i, i + n):
            key = _key(table, cell, row, t, which)
            for j in range(d.shape[1]):
                z = _share(draws, key, j, probability)
                kept[row, j] = z * d[row, j]
                d[row, j] -= kept[row, j]

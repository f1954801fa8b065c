"""Which units stay as they were: draws for equation (4z) of cell.py, the same on every device.

They come from a hash of the batch's seed and of where they are, rather than being kept: no
draw depends on threads, and going back draws the same.

Reference: Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden
Activations", ICLR 2017.
"""

from __future__ import annotations

import numpy as np

from numba_lstm._jit import helper
from numba_lstm.vectors import hashed

_U32 = np.uint32


@helper(inline=True)
def sequence_key(seed, number, which, i):
    """Key of the draws for h (``which`` is 0) or c (1) of sequence i in the cell of a number."""
    key = hashed(_U32(seed & 0xFFFFFFFF))
    key = hashed(_U32(key ^ _U32(seed >> 32)))
    key = hashed(_U32(key ^ _U32(2 * number + which)))
    return hashed(_U32(key ^ _U32(i)))


@helper(inline=True)
def step_key(key, t):
    """Key of the draws at one time step, from the sequence's."""
    return hashed(_U32(key ^ _U32(t)))


@helper(inline=True)
def bound_of(probability):
    """Return the number below which a uniformly drawn uint32 is with this probability."""
    return _U32(min(np.float64(probability) * 4294967296.0, 4294967295.0))

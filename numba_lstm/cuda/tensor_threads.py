"""What a thread of a recurrence on tensor cores has: one unit of two sequences, or of one.

Of a block's 8 sequences a product gives each lane two neighbours; where a block has only 4,
half of the lanes take one of another's two.
"""

from __future__ import annotations

import numpy as np
from numba import float32, types

from numba_lstm.cuda.device import cuda, device_function
from numba_lstm.cuda.tensor_cores import COLUMNS
from numba_lstm.cuda.zoneout import argument_types

# An index that cannot be negative: of others Numba checks whether they count from the end.
u = np.uint64


@device_function
def own_sequence(lane, two):
    """The first sequence of a lane: of 8 it has two neighbours, of 4 one."""
    part = lane & 3
    return 2 * part if two else 2 * (part & 1) + (part >> 1)


@device_function
def own_sum(first, second, lane, two):
    """Of two sums those of a lane's first sequence: of 4 half of them were another lane's."""
    if two:
        return first
    other = cuda.shfl_xor_sync(0xFFFFFFFF, second, 2)
    return other if lane & 2 else first


@device_function
def rows_of(first, m, n, B):
    """Number, first row and length of sequence n of a model, or of its last."""
    q = m * B + min(n, B - 1)
    begin = first[u(q)]
    return q, begin, first[u(q + 1)] - begin


@device_function
def longest(first, m, block, NB, B):
    """Steps of the longest sequence of a block."""
    T = 0
    for b in range(block, min(block + NB, B)):
        T = max(T, first[u(m * B + b + 1)] - first[u(m * B + b)])
    return T


@device_function
def peepholes_of(theta, m, at, H):
    """A unit's three peepholes."""
    return theta[u(m), u(at)], theta[u(m), u(at + H)], theta[u(m), u(at + 2 * H)]


@device_function
def place_of(k, n, D):
    """Where number k of sequence n lies in the vectors: see tensor_cores.py."""
    return k // D * (COLUMNS * D) + n * D + k % D


def signatures() -> tuple[tuple, tuple]:
    """Types of the arguments of the forward and of the backward kernel, but for ``packed``."""
    size, flag, first = types.int64, types.boolean, types.Array(types.int64, 1, "C")
    A = types.Array(float32, 2, "C")
    variant = A, size, size, float32, flag
    forward = *variant, A, size, A, first, size, flag, *[A] * 6, size, A, size, A
    backward = *variant, first, size, flag, *[A] * 5, size, A, size, *[A] * 5
    zoneout = argument_types(float32)
    return (*forward, *zoneout), (*backward, *zoneout)

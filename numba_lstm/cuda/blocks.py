"""Grids, blocks, and sums within them, for kernels that go through rows.

What is None in a call is a matrix without rows in its kernel: there is one variant of each.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import types

from numba_lstm.cuda.device import cuda, device_array

THREADS = 128

# Steps of a sequence that a thread goes through, and parts of a sequence at most.
_STEPS, _PARTS = 4, 64

_FULL_WARP = 0xFFFFFFFF


def over_steps(first: Any, rows: Any, columns: int) -> tuple[tuple, tuple]:
    """Grid and block for the steps of all sequences: a sequence, or a part of it, a block."""
    n_sequences = first.shape[0] - 1
    across = _power_of_two(columns, 32)
    down = THREADS // across
    n_parts = rows.shape[0] // (_STEPS * down * n_sequences)
    return (n_sequences, min(max(n_parts, 1), _PARTS)), (across, down)


def over_columns(n_rows: int, columns: int) -> tuple[int, int]:
    """Grid and block for one row a block."""
    return n_rows, _power_of_two(columns, THREADS)


def over_rows(bounds: Any, most: int, columns: int) -> tuple[tuple, tuple]:
    """Grid and block for rows of all models, ``most`` each at most: a model is a y."""
    across = _power_of_two(columns, 32)
    down = THREADS // across
    return (max(-(-most // (_STEPS * down)), 1), bounds.shape[0] - 1), (across, down)


def _power_of_two(n, most):
    return min(1 << (n - 1).bit_length(), most)


def or_nothing(array: Any | None, like: Any) -> Any:
    """Return an array, or if it is None a matrix of no rows and of the dtype of another."""
    return _nothing(like.dtype.char) if array is None else array


@functools.cache
def _nothing(dtype):
    return device_array((0, 0), np.dtype(dtype))


def pair(arrays: tuple, like: Any) -> tuple[Any, Any]:
    """Return the arrays of one direction or two, or of none, with nothing for the rest."""
    one, two = (*arrays, None, None)[:2]
    return or_nothing(one, like), or_nothing(two, like)


@cuda.jit(device=True)
def warp_sum(value):
    """Sum of one number of each thread of a warp, which all of them get."""
    for k in range(5):
        value += cuda.shfl_xor_sync(_FULL_WARP, value, 16 >> k)
    return value


@cuda.jit(device=True)
def block_sum(value, scratch):
    """Sum of one number of each thread of a block, a power of two, which thread 0 gets.

    ``scratch`` is shared, of one number a thread; the order is always the same.
    """
    t = cuda.threadIdx.x
    scratch[t] = value
    n = cuda.blockDim.x // 2
    while n > 0:
        cuda.syncthreads()
        if t < n:
            scratch[t] += scratch[t + n]
        n //= 2
    return scratch[t]


def matrix_type(dtype: Any) -> Any:
    """Numba's type of a contiguous matrix."""
    return types.Array(dtype, 2, "C")


def vector_type(dtype: Any) -> Any:
    """Numba's type of a contiguous vector."""
    return types.Array(dtype, 1, "C")

"""Sums over the rows of M models side by side, in an order that is always the same.

A first kernel adds up chunks of rows into ``partial``, a workspace; a second one adds the
chunks, in their order. Nothing is added atomically. The bits of a sum depend on what is added,
on M and on ``most_rows``, and not on what runs when or on the GPU.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
from numba import types

from numba_lstm.cuda.device import cuda, jit
from numba_lstm.cuda.tiles import lesser

FILL = 512  # blocks: four for each of the multiprocessors of a large GPU
FEWEST_ROWS = 64  # of a chunk: fewer cost more in partial sums than they gain
MOST_CHUNKS = 64
_ADDERS = 128  # threads of a block that adds chunks

_u = np.uint64


def divide(blocks: int, most_rows: int) -> tuple[int, int]:
    """Number and length of the chunks of rows, where each takes so many blocks."""
    if most_rows == 0:
        return 0, 1
    number = max(1, min(FILL // blocks, -(-most_rows // FEWEST_ROWS), MOST_CHUNKS))
    length = -(-most_rows // number)
    length += -length % 8
    return -(-most_rows // length), length


def column_sums(
    grad,
    at: int,
    a,
    n_a: int,
    bounds,
    most_rows: int,
    partial,
    *,
    a_column: int = 0,
    stream=0,
    across: int = 32,
    down: int = 8,
) -> None:
    """Gradients of biases: ``grad[m, at + j] = sum_r a[r, j]``.

    Parameters
    ----------
    grad : device array of shape (M, P)
        Where the sums go.
    at : int
        Their offset.
    a : device array of shape (S or more, a_column + n_a or more)
        What is added.
    n_a : int
        How many columns of it; at least 1.
    bounds : device array of shape (M + 1,)
        First rows of the models, int64, and S.
    most_rows : int
        At least the rows of each model.
    partial : device array of shape (column_sums_workspace(...) or more,)
        Workspace.
    a_column : int
        First column of a.
    stream : stream
        Where it is launched.
    across, down : int
        Threads of a block: columns, and rows that are added side by side.
    """
    M = bounds.shape[0] - 1
    columns = -(-n_a // across)
    chunks, length = divide(M * columns, most_rows)
    if chunks > 0:
        kernel = _column_sums(grad.dtype, across, down)
        kernel[(chunks, columns, M), (across, down), stream](
            partial, a, bounds, a_column, n_a, length
        )
    add_chunks(grad, at, partial, n_a, bounds, chunks, length, stream)


def column_sums_workspace(M: int, n_a: int, most_rows: int, across: int = 32) -> int:
    """Elements that ``partial`` of :func:`column_sums` needs."""
    return divide(M * -(-n_a // across), most_rows)[0] * M * n_a


@functools.cache
def make_column_sums(dtype: np.dtype, across: int, down: int):
    """Sums over chunks of rows, as a Python function; grid (chunks, columns, models)."""
    ZERO = dtype.type(0)
    shape = (down, across)

    def column_sums(partial, a, bounds, a_column, n, length):
        sums = cuda.shared.array(shape, dtype)
        x = cuda.threadIdx.x
        y = cuda.threadIdx.y
        m = cuda.blockIdx.z
        first = bounds[_u(m)] + cuda.blockIdx.x * length
        end = lesser(first + length, bounds[_u(m + 1)])
        j = cuda.blockIdx.y * across + x
        total = ZERO
        if j < n:
            for r in range(first + y, end, down):
                total += a[_u(r), _u(a_column + j)]
        sums[y, x] = total
        cuda.syncthreads()
        if y == 0 and j < n:
            for other in range(1, down):
                total += sums[other, x]
            partial[_u((m * cuda.gridDim.x + cuda.blockIdx.x) * n + j)] = total

    return column_sums


@functools.cache
def _column_sums(dtype, across, down):
    return jit(make_column_sums(dtype, across, down))


@functools.cache
def make_add(dtype: np.dtype):
    """The second phase, as a Python function: a thread for each sum; grid (blocks, models)."""
    ZERO = dtype.type(0)

    def add(grad, partial, bounds, at, n, chunks, length):
        e = cuda.grid(1)
        m = cuda.blockIdx.y
        if e < n:
            n_rows = bounds[_u(m + 1)] - bounds[_u(m)]
            total = ZERO
            for chunk in range((n_rows + length - 1) // length):
                total += partial[_u((m * chunks + chunk) * n + e)]
            grad[_u(m), _u(at + e)] = total

    return add


@functools.cache
def _adder(dtype):
    return jit(make_add(dtype))


def add_chunks(grad, at, partial, n, bounds, chunks, length, stream) -> None:
    """The second phase: ``grad[m, at + e]`` is the sum of ``partial[m, :, e]``, for e < n."""
    grid = (-(-n // _ADDERS), bounds.shape[0] - 1)
    _adder(grad.dtype)[grid, _ADDERS, stream](grad, partial, bounds, at, n, chunks, length)


def compile_cases() -> list[tuple]:
    """Name, Python function, signature and threads of a block of each kernel."""
    size = types.int64
    bounds = types.Array(size, 1, "C")
    cases: list[tuple] = []
    for dtype in (np.dtype("f4"), np.dtype("f8")):
        number = numba.from_dtype(dtype)
        line, table = types.Array(number, 1, "C"), types.Array(number, 2, "C")
        summed = (line, table, bounds, size, size, size)
        cases.append((f"column_sums {dtype}", make_column_sums(dtype, 32, 8), summed, 256))
        added = (table, line, bounds, size, size, size, size)
        cases.append((f"add_chunks {dtype}", make_add(dtype), added, _ADDERS))
    return cases

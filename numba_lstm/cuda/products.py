"""Matrix products and sums over the rows of M models side by side.

Rows are per time step or per sequence: those of model m are ``bounds[m]`` to
``bounds[m + 1] - 1``. ``bounds``, int64 of shape (M + 1,), lies on the device; the grids are
sized by ``most_rows``, the most rows of any one model or a bound on it, so that nothing is
waited for. Matrices are C-contiguous; weights and gradients lie at an offset in the rows of
theta and grad (M, P).

Sums over rows have two phases: blocks add up chunks of rows in ``partial``, a workspace, and
a second kernel adds the chunks in their order. Nothing is added atomically. The bits of a
gradient depend on its operands, on M and on ``most_rows``, and not on what runs when or on
the GPU; those of ``times`` depend on the row and the weights alone.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
from numba import types

from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.tiles import GRAM, TRANSPOSED, WEIGHTS, Tile, make_product

_u = np.uint64
_FILL = 512  # blocks: four for each of the multiprocessors of a large GPU
_FEWEST_ROWS = 128  # of a chunk: fewer cost more in partial sums than they gain
_MOST_CHUNKS = 64
_ADDERS = 128  # threads of a block that adds chunks


def times(
    out,
    rows,
    theta,
    at: int,
    n_in: int,
    n_out: int,
    bounds,
    most_rows: int,
    *,
    transposed: bool = False,
    ld: int | None = None,
    bias_at: int | None = None,
    accumulate: bool = False,
    out_column: int = 0,
    row_column: int = 0,
    stream=0,
    tile: Tile | None = None,
) -> None:
    """Rows times W_m: ``out[r, j] = bias[j] + sum_i rows[r, i] W_m[i, j]``.

    Parameters
    ----------
    out : device array of shape (S or more, out_column + n_out or more)
        Where the products go; float32 or float64, as all others. It is not ``rows``.
    rows : device array of shape (S or more, row_column + n_in or more)
        What is multiplied.
    theta : device array of shape (M, P)
        W_m[i, j] = theta[m, at + i * ld + j], or theta[m, at + j * ld + i] if transposed.
    at : int
        Offset of W_m.
    n_in, n_out : int
        Shape of W_m, as it multiplies; both at least 1.
    bounds : device array of shape (M + 1,)
        First rows of the models, int64, and S.
    most_rows : int
        At least the rows of each model.
    transposed : bool
        Whether theta holds W_m^T.
    ld : int, optional
        From one row to the next of what theta holds; n_out, or n_in if transposed.
    bias_at : int, optional
        Offset of a bias of n_out numbers.
    accumulate : bool
        Whether the products are added to what is in ``out``.
    out_column, row_column : int
        First column in ``out`` and in ``rows``.
    stream : stream
        Where it is launched.
    tile : Tile, optional
        How blocks divide the work.
    """
    M = bounds.shape[0] - 1
    if most_rows == 0:
        return
    tile = tile or _tile_of_rows(theta.dtype, M, most_rows, n_out)
    if ld is None:
        ld = n_in if transposed else n_out
    kernel = _product(theta.dtype, TRANSPOSED if transposed else WEIGHTS, tile)
    grid = (-(-most_rows // tile.height), -(-n_out // tile.width), M)
    bias = -1 if bias_at is None else bias_at
    kernel[grid, tile.threads, stream](
        out, rows, theta, bounds, row_column, at, ld, 0, n_out, n_in, out_column, bias, accumulate
    )


def gram(
    grad,
    at: int,
    a,
    b,
    n_a: int,
    n_b: int,
    bounds,
    most_rows: int,
    partial,
    *,
    a_column: int = 0,
    b_column: int = 0,
    stream=0,
    tile: Tile | None = None,
) -> None:
    """Gradients of weights: ``grad[m, at + i * n_b + j] = sum_r a[r, i] b[r, j]``.

    Parameters
    ----------
    grad : device array of shape (M, P)
        Where the sums go.
    at : int
        Their offset.
    a, b : device array of shape (S or more, column + n or more)
        What is multiplied.
    n_a, n_b : int
        How many columns of a and of b; both at least 1.
    bounds, most_rows
        As for :func:`times`.
    partial : device array of shape (gram_workspace(...) or more,)
        Workspace.
    a_column, b_column : int
        First column of a and of b.
    stream : stream
        Where it is launched.
    tile : Tile, optional
        How blocks divide the work.
    """
    M = bounds.shape[0] - 1
    tile = tile or _tile_of_gram(grad.dtype, n_a, n_b)
    tiles = -(-n_a // tile.height) * -(-n_b // tile.width)
    chunks, length = _chunks(M * tiles, most_rows)
    if chunks > 0:
        kernel = _product(grad.dtype, GRAM, tile)
        kernel[(chunks, tiles, M), tile.threads, stream](
            partial, a, b, bounds, a_column, b_column, 0, n_a, n_b, length, 0, -1, False
        )
    _add(grad, at, partial, n_a * n_b, bounds, chunks, length, stream)


def gram_workspace(
    dtype, M: int, n_a: int, n_b: int, most_rows: int, tile: Tile | None = None
) -> int:
    """Elements that ``partial`` of :func:`gram` needs."""
    tile = tile or _tile_of_gram(dtype, n_a, n_b)
    tiles = -(-n_a // tile.height) * -(-n_b // tile.width)
    return _chunks(M * tiles, most_rows)[0] * M * n_a * n_b


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
    grad, at, a, n_a, bounds, most_rows, a_column, stream
        As for :func:`gram`.
    partial : device array of shape (column_sums_workspace(...) or more,)
        Workspace.
    across, down : int
        Threads of a block: columns, and rows that are added side by side.
    """
    M = bounds.shape[0] - 1
    columns = -(-n_a // across)
    chunks, length = _chunks(M * columns, most_rows)
    if chunks > 0:
        kernel = _column_sums(grad.dtype, across, down)
        kernel[(chunks, columns, M), (across, down), stream](
            partial, a, bounds, a_column, n_a, length
        )
    _add(grad, at, partial, n_a, bounds, chunks, length, stream)


def column_sums_workspace(M: int, n_a: int, most_rows: int, across: int = 32) -> int:
    """Elements that ``partial`` of :func:`column_sums` needs."""
    return _chunks(M * -(-n_a // across), most_rows)[0] * M * n_a


# -- how the work is divided --------------------------------------------------------


def _side(dtype: np.dtype, n: int) -> int:
    """Elements of a thread along a side of length n: as many as waste little of it.

    More of them need fewer reads of shared memory for each multiplication. In float64 the
    registers suffice for 4 x 4.
    """
    if dtype.itemsize == 8 or n <= 32:
        return 4
    return min((8, 6), key=lambda each: -n % (8 * each))


def _tile_of_rows(dtype, M, most_rows, n_out) -> Tile:
    """Half as high a tile if it takes that to give all multiprocessors something to do."""
    wide = _side(dtype, n_out)
    high = 4 if dtype.itemsize == 8 else 8
    if M * -(-most_rows // (8 * high)) * -(-n_out // (8 * wide)) < _FILL // 2:
        high = 4
    return Tile(high, wide)


def _tile_of_gram(dtype, n_a, n_b) -> Tile:
    return Tile(_side(dtype, n_a), _side(dtype, n_b))


def _chunks(blocks: int, most_rows: int) -> tuple[int, int]:
    """Number and length of the chunks of rows, where each takes so many blocks."""
    if most_rows == 0:
        return 0, 1
    number = max(1, min(_FILL // blocks, -(-most_rows // _FEWEST_ROWS), _MOST_CHUNKS))
    length = -(-most_rows // number)
    length += -length % 8
    return -(-most_rows // length), length


# -- kernels ------------------------------------------------------------------------


@functools.cache
def _product(dtype, kind, tile):
    return cuda.jit(make_product(dtype, kind, tile))


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
        end = min(first + length, bounds[_u(m + 1)])
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
    return cuda.jit(make_column_sums(dtype, across, down))


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
    return cuda.jit(make_add(dtype))


def _add(grad, at, partial, n, bounds, chunks, length, stream):
    grid = (-(-n // _ADDERS), bounds.shape[0] - 1)
    _adder(grad.dtype)[grid, _ADDERS, stream](grad, partial, bounds, at, n, chunks, length)


def compile_cases() -> list[tuple]:
    """Name, Python function, signature and threads of a block of each kernel."""
    size, flag = types.int64, types.boolean
    bounds = types.Array(size, 1, "C")
    cases: list[tuple] = []
    for dtype, sides in ((np.dtype("f4"), (4, 6, 8)), (np.dtype("f8"), (4,))):
        number = numba.from_dtype(dtype)
        line, table = types.Array(number, 1, "C"), types.Array(number, 2, "C")
        for kind, name in ((WEIGHTS, "times"), (TRANSPOSED, "times_transposed"), (GRAM, "gram")):
            out = line if kind == GRAM else table
            signature = (out, table, table, bounds, *[size] * 8, flag)
            for high in sides if kind == GRAM else sorted({4, sides[-1]}):
                for wide in sides:
                    tile = Tile(high, wide)
                    function = make_product(dtype, kind, tile)
                    label = f"{name} {tile.height}x{tile.width} {dtype}"
                    cases.append((label, function, signature, tile.threads))
        signature = (line, table, bounds, size, size, size)
        function = make_column_sums(dtype, 32, 8)
        cases.append((f"column_sums {dtype}", function, signature, 256))
        signature = (table, line, bounds, *[size] * 4)
        cases.append((f"add {dtype}", make_add(dtype), signature, _ADDERS))
    return cases

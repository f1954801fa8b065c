"""Matrix products and sums over the rows of M models side by side.

Rows are per time step or per sequence: those of model m are ``bounds[m]`` to
``bounds[m + 1] - 1``. ``bounds``, int64 of shape (M + 1,), lies on the device; the grids are
sized by ``most_rows``, the most rows of any one model or a bound on it, so that nothing is
waited for. Matrices are C-contiguous; weights and gradients lie at an offset in the rows of
theta and grad (M, P).

The bits of what ``times`` gives depend on the row and the weights alone; those of ``gram`` as
sums.py says, which has :func:`column_sums`.
"""

from __future__ import annotations

import functools

import numba
import numpy as np
from numba import types

from numba_lstm.cuda import sums
from numba_lstm.cuda.device import jit
from numba_lstm.cuda.sums import column_sums, column_sums_workspace
from numba_lstm.cuda.tiles import GRAM, TRANSPOSED, WEIGHTS, Tile, make_product

__all__ = [
    "column_sums",
    "column_sums_workspace",
    "compile_cases",
    "gram",
    "gram_workspace",
    "times",
]


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
    chunks, length = sums.divide(M * tiles, most_rows)
    if chunks > 0:
        kernel = _product(grad.dtype, GRAM, tile)
        kernel[(chunks, tiles, M), tile.threads, stream](
            partial, a, b, bounds, a_column, b_column, 0, n_a, n_b, length, 0, -1, False
        )
    sums.add_chunks(grad, at, partial, n_a * n_b, bounds, chunks, length, stream)


def gram_workspace(
    dtype, M: int, n_a: int, n_b: int, most_rows: int, tile: Tile | None = None
) -> int:
    """Elements that ``partial`` of :func:`gram` needs."""
    tile = tile or _tile_of_gram(dtype, n_a, n_b)
    tiles = -(-n_a // tile.height) * -(-n_b // tile.width)
    return sums.divide(M * tiles, most_rows)[0] * M * n_a * n_b


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
    if M * -(-most_rows // (8 * high)) * -(-n_out // (8 * wide)) < sums.FILL // 2:
        high = 4
    return Tile(high, wide)


def _tile_of_gram(dtype, n_a, n_b) -> Tile:
    return Tile(_side(dtype, n_a), _side(dtype, n_b))


# -- kernels ------------------------------------------------------------------------


@functools.cache
def _product(dtype, kind, tile):
    return jit(make_product(dtype, kind, tile))


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
    return cases + sums.compile_cases()

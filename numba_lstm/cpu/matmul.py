"""Matrix products out of the microkernel's tiles: C = A B and C += A B.

B is read in panels, two vectors wide. A weight matrix, which is used again at
every time step, is packed once per call so that each of its panels is contiguous.
Columns beyond the last whole panel go through masked vectors: no size falls off a
cliff, and nothing is padded.
"""

from __future__ import annotations

import numpy as np
from numba import config

from numba_lstm._jit import helper
from numba_lstm._llvm import BITS
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.simd import MAX_ROWS, make_row, make_tile
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import address, flat

# The rows of a tile: a quarter of the largest tile's is the least difference between two.
_QUARTER = MAX_ROWS // 4
_tile_max, _tile_three = make_tile(MAX_ROWS), make_tile(3 * _QUARTER)
_tile_half = make_tile(2 * _QUARTER)
_tile_ahead = make_tile(MAX_ROWS, fetches=True)
_PANELS = 4  # of a single row at once
_row = make_row(_PANELS)

# What becomes of C. Numba would compile a function once more for a literal True.
SET, ADD = np.bool_(False), np.bool_(True)

# Rows of B that are taken at a time from afar, as of a transposed product: at two vectors of 64
# bytes a row they fill half of a 48 KB first-level cache.
DEPTH = 192

# Weights of more bytes lie beyond a second-level cache, as a rule.
_FAR = 2**20


@helper
def panel_width(itemsize):
    """Columns of a whole panel: two vectors."""
    return 2 * (BITS // 8) // itemsize


@helper
def fill_zeros(A, row, n, first, last):
    """Set columns ``first`` to ``last`` of n rows of A from ``row`` on to zero."""
    for r in range(row, row + n):
        for j in range(first, last):
            A[r, j] = 0


@helper
def share_of(n_columns, itemsize, task, n_tasks):
    """Columns of a matrix, whole panels of them, that are one task's."""
    whole = panel_width(itemsize)
    n_panels = (n_columns + whole - 1) // whole
    first, last = n_panels * task // n_tasks, n_panels * (task + 1) // n_tasks
    return first * whole, min(last * whole, n_columns)


@helper
def column_of_tiles(
    zero, a, a_row, a_col, b, b_row, K, c, c_row, M, width, add, size, ahead, stride
):
    """One panel of C from the addresses a, b, c; strides in elements of ``size`` bytes.

    Unless ``stride`` is 0, what lies from ``ahead`` on is fetched, ``stride`` bytes with every
    k of each of the largest tiles.
    """
    m = 0
    while m < M:
        # 10 rows of 8 at most, say, are 6 and 4, so that few are computed for nothing: batches of
        # 20 sequences, in blocks of 10, take 8 % less time than with tiles of 8 and 4.
        quarters = (M - m + _QUARTER - 1) // _QUARTER
        n = (4 if quarters == 4 or quarters > 5 else 3 if quarters > 2 else 2) * _QUARTER
        a_m, c_m, rows = a + m * a_row * size, c + m * c_row * size, min(n, M - m)
        b_m, c_n = (b, b_row, K), (c_m, c_row, rows, width, add, ahead, stride)
        if n == MAX_ROWS and stride > 0:
            _tile_ahead(zero, a_m, a_row, a_col, *b_m, *c_n)
            ahead += stride * K
        elif n == MAX_ROWS:
            _tile_max(zero, a_m, a_row, a_col, *b_m, *c_n)
        elif n > MAX_ROWS // 2:
            _tile_three(zero, a_m, a_row, a_col, *b_m, *c_n)
        else:
            _tile_half(zero, a_m, a_row, a_col, *b_m, *c_n)
        m += n


def _product(A, a, K, packed_B, C, first, n, add):
    """Set, or with ``add`` add to, n rows of C from ``first`` on: rows a to a+n of A, times B.

    Only the first K columns of A and rows of B take part. A (., K or more),
    C (., N), ``packed_B`` as :func:`pack` leaves it.
    """
    N, size = C.shape[1], C.itemsize
    whole, K_B = panel_width(size), packed_B.size // N
    a_row, one = A.shape[1], np.int64(1)  # a literal 1 would be compiled for separately
    a_n, c_n = address(A) + a * a_row * size, address(C) + first * N * size
    zero, begin = type(C[0, 0])(0), np.int64(0)
    if n == 1:
        begin = N // (_PANELS * whole) * (_PANELS * whole)
        for j in range(0, begin, _PANELS * whole):
            b_j = address(packed_B) + j * K_B * size
            _row(zero, a_n, b_j, whole, whole * K_B, K, c_n + j * size, add)
    far = N * K_B * size > _FAR
    for j in range(begin, N, whole):
        width = min(whole, N - j)
        b_j, c_j = address(packed_B) + j * K_B * size, c_n + j * size
        if not far:
            column_of_tiles(
                *(zero, a_n, a_row, one, b_j, width, K, c_j, N, n, width, add, size),
                *(b_j, np.int64(0)),
            )
            continue
        behind = address(packed_B) if j + whole >= N else b_j + K_B * width * size
        _column_from_afar(zero, a_n, a_row, b_j, K, c_j, N, n, width, add, size, behind)


@helper
def _column_from_afar(zero, a, a_row, b, K, c, c_row, M, width, add, size, behind):
    """One panel of C where B lies beyond the second-level cache, and ``behind`` the next of B.

    Of B's panel there comes a part at a time, which stays in the first-level cache for all
    tiles; meanwhile the next part is fetched. On a Xeon 32 rows times 640 by 2048 weights reach
    0.97 instead of 0.80 of what a tile does.
    """
    parts, one = max((K + DEPTH - 1) // DEPTH, 1), np.int64(1)
    stride = 2 * (BITS // 8) // max(M // MAX_ROWS, 1)
    for part in range(parts):
        k, k_end = K * part // parts, K * (part + 1) // parts
        ahead = b + k_end * width * size if k_end < K else behind
        adds = add or part > 0
        column_of_tiles(
            *(zero, a + k * size, a_row, one, b + k * width * size, width, k_end - k),
            *(c, c_row, M, width, adds, size, ahead, stride),
        )


def _pack(W, packed, first, last):
    """Copy columns ``first`` to ``last`` of W (K, N) into ``packed`` (K N,), panel by panel.

    ``first`` is the beginning of a panel.
    """
    K, N = W.shape
    whole, L = panel_width(W.itemsize), lanes(W)
    for n in range(first, last, whole):
        width, q = min(whole, N - n), n * K
        for k in range(K):
            for j in range(0, width, L):
                store(load(W, k * N + n + j, width - j), packed, q + k * width + j, width - j)


def _pack_transposed(W, packed, first, last):
    """As :func:`pack`, of the transpose of W (N, K)."""
    N, K = W.shape
    whole, packed = panel_width(W.itemsize), flat(packed)
    for n in range(first, last, whole):
        width, q = min(whole, N - n), n * K
        for k_0 in range(0, K, 16):  # blocks that stay in the cache
            for j in range(width):
                for k in range(k_0, min(k_0 + 16, K)):
                    packed[q + k * width + j] = W[n + j, k]


def _product_numpy(A, a, K, packed_B, C, first, n, add):
    B = packed_B.reshape(-1, C.shape[1])[:K]
    # One by one, and term by term, so that no row's rounding depends on the others, or on where
    # the arrays lie, as that of some BLAS does.
    for row in range(n):
        product = np.add.reduce(A[a + row, :K, np.newaxis] * B, axis=0)
        C[first + row] = product + (C[first + row] if add else 0)


def _pack_numpy(W, packed, first, last):
    if last > first:
        packed.reshape(W.shape)[:, first:last] = W[:, first:last]


def _pack_transposed_numpy(W, packed, first, last):
    _pack_numpy(W.T, packed, first, last)


# The tile exists in compiled code only: without the JIT, NumPy stands in.
if config.DISABLE_JIT:
    product = _product_numpy
    pack, pack_transposed = _pack_numpy, _pack_transposed_numpy
else:
    product = linked()(_product)
    pack, pack_transposed = helper(_pack), helper(_pack_transposed)

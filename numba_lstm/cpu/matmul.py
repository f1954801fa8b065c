"""Matrix products out of the microkernel's tiles: C += A B and C += A^T B.

B is read in panels, two vectors wide. A weight matrix, which is used again at
every time step, is packed once per call so that each of its panels is contiguous;
an activation is read where it lies. Columns beyond the last whole panel go through
masked vectors: no size falls off a cliff, and nothing is padded.
"""

from __future__ import annotations

from numba import config

from numba_lstm._jit import kernel
from numba_lstm.cpu.simd import BITS, MAX_ROWS, make_tile
from numba_lstm.intrinsics import borrow

_tile_max, _tile_2, _tile_1 = (make_tile(rows) for rows in (MAX_ROWS, 2, 1))

# Rows of B that one pass of a transposed product takes: at two vectors of 64 bytes
# a row they fill half of a 48 KB first-level cache.
_DEPTH = 192


@kernel
def panel_width(itemsize):
    """Columns of a whole panel: two vectors."""
    return 2 * (BITS // 8) // itemsize


@kernel
def _panels(zero, a, a_row, a_col, b, b_row, packed, K, c, c_row, M, N, size):
    """C += A B at the addresses a, b, c; strides in elements of ``size`` bytes."""
    whole = panel_width(size)
    for n in range(0, N, whole):
        width = min(whole, N - n)
        if packed:
            b_n, stride = b + n * K * size, width
        else:
            b_n, stride = b + n * size, b_row
        a_m, c_m, m = a, c + n * size, 0
        while m + MAX_ROWS <= M:
            _tile_max(zero, a_m, a_row, a_col, b_n, stride, K, c_m, c_row, width)
            m, a_m, c_m = (
                m + MAX_ROWS,
                a_m + MAX_ROWS * a_row * size,
                c_m + MAX_ROWS * c_row * size,
            )
        while m + 2 <= M:
            _tile_2(zero, a_m, a_row, a_col, b_n, stride, K, c_m, c_row, width)
            m, a_m, c_m = m + 2, a_m + 2 * a_row * size, c_m + 2 * c_row * size
        if m < M:
            _tile_1(zero, a_m, a_row, a_col, b_n, stride, K, c_m, c_row, width)


def _add_product(A, a, packed_B, C, c, n):
    """Add rows a to a+n of A, times B, to rows c to c+n of C.

    A (., K), C (., N), ``packed_B`` (K N,) as :func:`pack` leaves it.
    """
    K, N, size = A.shape[1], C.shape[1], C.itemsize
    _panels(
        type(C[0, 0])(0),
        A.ctypes.data + a * K * size,
        K,
        1,
        packed_B.ctypes.data,
        0,
        True,
        K,
        C.ctypes.data + c * N * size,
        N,
        n,
        N,
        size,
    )


def _add_transposed_product(A, a, B, b, n, C, first, last, scratch):
    """Add A[a:a+n]^T B[b:b+n, first:last] to C[:, first:last].

    A (., M), B (., N), C (M, N); ``scratch`` holds :func:`scratch_size` elements.
    """
    M, N, size = A.shape[1], B.shape[1], C.itemsize
    whole = panel_width(size)
    # The rows of a wide B all fall into the same few sets of the first-level cache:
    # a panel that is used again for many rows of C is first copied together.
    copied = M >= 128 and N * size >= 4096
    for k in range(0, n, _DEPTH):
        depth = min(_DEPTH, n - k)
        for j in range(first, last, whole):
            width = min(whole, last - j)
            where, stride = B.ctypes.data + ((b + k) * N + j) * size, N
            if copied:
                for row in range(depth):
                    target = borrow(scratch, row * width, width)
                    source = borrow(B, (b + k + row) * N + j, width)
                    for column in range(width):
                        target[column] = source[column]
                where, stride = scratch.ctypes.data, width
            _panels(
                type(C[0, 0])(0),
                A.ctypes.data + (a + k) * M * size,
                1,
                M,
                where,
                stride,
                False,
                depth,
                C.ctypes.data + j * size,
                N,
                M,
                width,
                size,
            )


def scratch_size(dtype):
    """Elements of the scratch that a transposed product needs."""
    return _DEPTH * 2 * (BITS // 8) // dtype.itemsize


def _pack(W, packed):
    """Copy W (K, N) into ``packed`` (K N,), each panel of columns contiguous."""
    K, N = W.shape
    whole = panel_width(W.itemsize)
    q = 0
    for n in range(0, N, whole):
        width = min(whole, N - n)
        if W.strides[0] > W.strides[1]:
            for k in range(K):
                for j in range(width):
                    packed[q + k * width + j] = W[k, n + j]
        else:  # a transposed matrix, in blocks that stay in the cache
            for first in range(0, K, 16):
                for j in range(width):
                    for k in range(first, min(first + 16, K)):
                        packed[q + k * width + j] = W[k, n + j]
        q += K * width


def _add_product_numpy(A, a, packed_B, C, c, n):
    B = packed_B[: A.shape[1] * C.shape[1]].reshape(A.shape[1], C.shape[1])
    for row in range(n):  # one by one, so that no row's rounding depends on the others
        C[c + row] += A[a + row] @ B


def _add_transposed_product_numpy(A, a, B, b, n, C, first, last, scratch):
    C[:, first:last] += A[a : a + n].T @ B[b : b + n, first:last]


def _pack_numpy(W, packed):
    packed[: W.size] = W.ravel()


# An intrinsic exists in compiled code only: without the JIT, NumPy stands in.
if config.DISABLE_JIT:
    add_product, add_transposed_product = _add_product_numpy, _add_transposed_product_numpy
    pack = _pack_numpy
else:
    add_product, add_transposed_product = kernel(_add_product), kernel(_add_transposed_product)
    pack = kernel(_pack)

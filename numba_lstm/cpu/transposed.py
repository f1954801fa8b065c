"""The transposed product of the gradients: C += A^T B, out of the microkernel's tiles.

What a task reads for a wide C it copies together first, and its share of C, too, where there are
many rows of A and B: rows that lie 4 KB or more apart fall into the same few sets of the
first-level cache, and each into a page of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import config

from numba_lstm._jit import helper
from numba_lstm._llvm import BITS
from numba_lstm.cpu.linking import linked
from numba_lstm.cpu.matmul import ADD, DEPTH, column_of_tiles, fill_zeros, panel_width
from numba_lstm.cpu.simd import MAX_ROWS
from numba_lstm.loads import lanes, load, store
from numba_lstm.memory import address

# Columns of A, in float32, that are copied together: up to half of a second-level cache of 1 MB.
_BREADTH = 768

# Bytes of a row from which on the rows of a tile lie in the same set of the first-level cache,
# and the rows of A and B from which on it pays to copy C, twice: at H = 512 the gradient takes
# 12 % less time, a batch 6 %; at 256 units 4 %, and at 128, with rows of 2 KB, 1 %.
_WIDE, _MANY = 4096, 4 * DEPTH


def scratch_size(M, N, itemsize, n_tasks):
    """Elements of the scratch that each task of a transposed product of M by N needs."""
    if M < 128 or N * itemsize < 2048:
        return 0
    whole = 2 * (BITS // 8) // itemsize
    size = DEPTH * (whole + _BREADTH * 4 // itemsize)
    n_panels = -(-N // whole) if N * itemsize >= _WIDE else 0
    return size + M * whole * -(-n_panels // n_tasks)


@helper
def _is_copied(M, N, itemsize, n_tasks):
    """Whether a task copies together what it reads: it has several panels, or long ones."""
    return M >= 128 and N * itemsize >= (2048 if n_tasks == 1 else _WIDE)


class _Tiles(NamedTuple):
    """A task's tiles of a matrix, which are counted down one panel, then down the next."""

    first: int  # and ``last`` is one past the last
    last: int
    height: int  # rows
    in_panel: int


@helper
def tiles_of(M, N, itemsize, task, n_tasks):
    """Tiles of a matrix (M, N) that are one task's.

    What a product reads for a wide matrix it copies for a panel at a time, so its tiles are whole
    panels. But a narrow one has few panels: two tasks would have three and two of those of 37
    units.
    """
    height = M if _is_copied(M, N, itemsize, n_tasks) else np.int64(MAX_ROWS)
    whole, in_panel = panel_width(itemsize), (M + height - 1) // height
    total = (N + whole - 1) // whole * in_panel
    return _Tiles(total * task // n_tasks, total * (task + 1) // n_tasks, height, in_panel)


@helper
def panels_of(tiles):
    """Panels in which there are some of a task's tiles: the first, and one past the last."""
    return tiles.first // tiles.in_panel, (tiles.last + tiles.in_panel - 1) // tiles.in_panel


@helper
def rows_of(tiles, panel, M):
    """Rows of a panel in a task's tiles: the first, and one past the last."""
    first, last = tiles.first - panel * tiles.in_panel, tiles.last - panel * tiles.in_panel
    return max(first, 0) * tiles.height, min(min(last, tiles.in_panel) * tiles.height, M)


@helper
def fill_share(C, task, n_tasks):
    """Set a task's tiles of C to zero."""
    (M, N), whole = C.shape, panel_width(C.itemsize)
    tiles = tiles_of(M, N, C.itemsize, task, n_tasks)
    for panel in range(*panels_of(tiles)):
        begin, end = rows_of(tiles, panel, M)
        fill_zeros(C, begin, end - begin, panel * whole, min((panel + 1) * whole, N))


def _add_transposed_product(A, a_0, B, b_0, n, C, task, n_tasks, space):
    """Add A[a_0:a_0+n, :M]^T B[b_0:b_0+n] to a task's tiles of C.

    A (., M or more), B (., N), C (M, N); ``space`` holds :func:`scratch_size` elements, for so
    many tasks or for more.
    """
    M, N, size, a_row = C.shape[0], B.shape[1], C.itemsize, A.shape[1]
    zero, one, nothing = type(C[0, 0])(0), np.int64(1), np.int64(0)
    whole = panel_width(size)
    tiles = tiles_of(M, N, size, task, n_tasks)
    first, last = panels_of(tiles)
    # What is used again for many tiles is first copied together. It pays for wide matrices
    # only, whose rows probably all fall into the same few sets of the first-level cache.
    copied = _is_copied(M, N, size, n_tasks)
    breadth = _BREADTH * 4 // size if copied else M
    b, a = address(space), address(space) + DEPTH * whole * size
    # Where the share of C lies meanwhile, if there is room: of fewer tasks each needs more.
    panels, c = DEPTH * (whole + breadth), address(C)
    held = copied and N * size >= _WIDE and n > _MANY
    held = held and space.size >= panels + (last - first) * M * whole
    if held:
        c = address(space) + panels * size
        _move_share(C, space, panels, first, last, False)
    for k in range(0, n, DEPTH):
        depth = min(DEPTH, n - k)
        for m in range(0, M, breadth):
            m_end = min(m + breadth, M)
            if copied:
                _copy_tiles(A, a_0 + k, depth, m, m_end, space, DEPTH * whole)
            for panel in range(first, last):
                j = panel * whole
                width = min(whole, N - j)
                if not copied:
                    begin, end = rows_of(tiles, panel, M)
                    a_k = address(A) + ((a_0 + k) * a_row + begin) * size
                    b_k = address(B) + ((b_0 + k) * N + j) * size
                    c_j = address(C) + (begin * N + j) * size
                    column_of_tiles(
                        *(zero, a_k, one, a_row, b_k, N, depth, c_j, N, end - begin),
                        *(width, ADD, size, b_k, nothing),
                    )
                    continue
                place, c_row = j, N
                if held:
                    place, c_row = (panel - first) * M * whole, width
                c_j = c + (place + m * c_row) * size
                _copy_panels(B, b_0 + k, depth, j, j + width, space, 0, whole)
                for tile in range((m_end - m + MAX_ROWS - 1) // MAX_ROWS):
                    i = tile * MAX_ROWS
                    a_i, c_i = a + i * depth * size, c_j + i * c_row * size
                    rows = min(MAX_ROWS, m_end - m - i)
                    column_of_tiles(
                        *(zero, a_i, one, rows, b, width, depth, c_i, c_row, rows),
                        *(width, ADD, size, b, nothing),
                    )
    if held:
        _move_share(C, space, panels, first, last, True)


@helper
def _move_share(C, space, begin, first, last, back):
    """Copy panels of C to ``begin``, one behind another, or back.

    Row by row, as the processor then fetches ahead.
    """
    (M, N), L, whole = C.shape, lanes(C), panel_width(C.itemsize)
    for row in range(M):
        for panel in range(first, last):
            width = min(whole, N - panel * whole)
            here = row * N + panel * whole
            there = begin + (panel - first) * M * whole + row * width
            for column in range(0, width, L):
                n = width - column
                if back:
                    store(load(space, there + column, n), C, here + column, n)
                else:
                    store(load(C, here + column, n), space, there + column, n)


@helper
def _copy_panels(B, k, depth, first, last, panels, begin, whole):
    """Copy B[k:k+depth, first:last] to ``begin``, in panels of ``whole`` columns."""
    N, L = B.shape[1], lanes(B)
    for j in range(first, last, whole):
        width, q = min(whole, last - j), begin + (j - first) * depth
        for row in range(depth):
            for column in range(0, width, L):
                n = width - column
                value = load(B, (k + row) * N + j + column, n)
                store(value, panels, q + row * width + column, n)


@helper
def _copy_tiles(A, k, depth, first, last, tiles, begin):
    """Copy A[k:k+depth, first:last] to ``begin``, in tiles of ``MAX_ROWS`` columns.

    Row by row, as the processor then fetches ahead: tile by tile it took twice as long.
    """
    M, L = A.shape[1], lanes(A)
    for row in range(depth):
        for m in range(first, last, MAX_ROWS):
            width = min(np.int64(MAX_ROWS), last - m)
            place = begin + (m - first) * depth + row * width
            for column in range(0, width, L):
                n = width - column
                value = load(A, (k + row) * M + m + column, n)
                store(value, tiles, place + column, n)


def _add_transposed_product_numpy(A, a_0, B, b_0, n, C, task, n_tasks, space):
    (M, N), whole = C.shape, panel_width(C.itemsize)
    tiles = tiles_of(M, N, C.itemsize, task, n_tasks)
    for panel in range(*panels_of(tiles)):
        rows = slice(*rows_of(tiles, panel, M))
        columns = slice(panel * whole, (panel + 1) * whole)
        C[rows, columns] += A[a_0 : a_0 + n, rows].T @ B[b_0 : b_0 + n, columns]


# The tile exists in compiled code only: without the JIT, NumPy stands in.
if config.DISABLE_JIT:
    add_transposed_product = _add_transposed_product_numpy
else:
    add_transposed_product = linked("train")(_add_transposed_product)

"""One kernel for the three products of the network: rows with W or W^T, and rows with rows.

A block makes one tile of C = A B, C[i, j] = sum_k A[i, k] B[k, j]. Slabs of A and B, ``depth``
long in k, lie in shared memory, two of each: while the block multiplies one, the next one is
on its way through registers, and one barrier a slab is enough. Each thread holds ``high`` x
``wide`` elements of C: groups of what 16 bytes hold, or of two, which neighbours in a warp
read side by side from shared memory. k goes upwards for every element: in which tile it lies
changes no bit of it.

Rows and columns beyond the edge repeat the last ones and are not written; k beyond its end
counts as 0, whatever is stored there.

Counted in machine code for sm_90, float32, a tile of 64 x 64: of 146 instructions of the
innermost loop, which is two steps of k, 128 are FFMA (88 %) and 8 read shared memory; with all
that fetches and stores the next slab it is 512 of about 770 (66 %). 48 x 64: 83 %, 32 x 32:
73 %. Reading number by number (see ALIGNED) the 88 % are 75 %. In float64, 32 x 32, DFMA are
67 %; most GPUs have far fewer units for these.
"""

from __future__ import annotations

import functools
import inspect
from typing import NamedTuple

import numpy as np

from numba_lstm.cuda.device import cuda

# What is multiplied: rows and W; rows and W^T; a^T and b, where k counts rows.
WEIGHTS, TRANSPOSED, GRAM = 0, 1, 2

# numba-cuda can align shared memory for vectors of 16 bytes; Numba's own target, which it
# replaces, cannot, and reads number by number.
ALIGNED = hasattr(cuda, "shared") and (  # which the simulator has in kernels only
    "alignment" in inspect.signature(cuda.shared.array).parameters
)

_u = np.uint64  # An index that cannot be negative: no check, no wrapping around.


@cuda.jit(device=True)
def lesser(x, y):
    """The lesser of two numbers; Numba's own target fails to compile ``min``."""
    return x if x < y else y


class Tile(NamedTuple):
    """How a block makes its part of C.

    Attributes
    ----------
    high, wide : int
        Elements of C of one thread, along i and along j.
    down, across : int
        Threads of a block, along i and along j.
    depth : int
        Length of a slab in k. Twice as much divides the threads and the sides of the tile.
    """

    high: int
    wide: int
    down: int = 8
    across: int = 8
    depth: int = 8

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.down * self.across

    @property
    def height(self) -> int:
        """Elements of C along i."""
        return self.down * self.high

    @property
    def width(self) -> int:
        """Elements of C along j."""
        return self.across * self.wide


class _Fetch(NamedTuple):
    """Which elements of a slab a thread fetches: ``lines`` of them for each of ``steps`` k.

    ``lanes`` threads read what lies together in memory; the others are ``apart`` lines, or
    ``apart_k`` steps of k, away. ``row`` is the length in shared memory of what belongs to one
    k, such that a warp writes to 32 different banks.
    """

    lanes: int
    steps: int
    lines: int
    apart: int
    apart_k: int
    row: int


def _fetch(tile: Tile, side: int, along_k: bool, dtype: np.dtype) -> _Fetch:
    if along_k:
        apart = tile.threads // tile.depth
        return _Fetch(tile.depth, 1, side // apart, apart, 0, side + 16 // dtype.itemsize)
    lanes = 2 * tile.depth
    apart_k = tile.threads // lanes
    row = side if side % 32 else side + 16
    return _Fetch(lanes, tile.depth // apart_k, side // lanes, lanes, apart_k, row)


@functools.cache
def make_product(dtype: np.dtype, kind: int, tile: Tile):
    """The kernel as a Python function.

    The grid is (tiles along i, tiles along j, models), for GRAM (chunks of rows, tiles with
    those along j first, models).

    Parameters
    ----------
    dtype : numpy.dtype
        float32 or float64.
    kind : int
        WEIGHTS, TRANSPOSED or GRAM.
    tile : Tile
        Its size.
    """
    ZERO = dtype.type(0)
    high, wide, down, across, depth = tile.high, tile.wide, tile.down, tile.across, tile.depth
    height, width = tile.height, tile.width
    gram, a_along_k, b_along_k = kind == GRAM, kind != GRAM, kind == TRANSPOSED
    a_lanes, a_steps, a_lines, a_apart, a_apart_k, a_row = _fetch(tile, height, a_along_k, dtype)
    b_lanes, b_steps, b_lines, b_apart, b_apart_k, b_row = _fetch(tile, width, b_along_k, dtype)
    n_a, a_slab = a_steps * a_lines, depth * a_row
    n_b, b_slab = b_steps * b_lines, depth * b_row
    # Own elements lie together, as many as 16 bytes hold or two: one read of shared memory.
    together = 16 // dtype.itemsize
    a_v = together if high % together == 0 else 2
    b_v = together if wide % together == 0 else 2
    a_leap, b_leap = a_v * down, b_v * across
    a_slabs, b_slabs, a_pair, b_pair, n_c = 2 * a_slab, 2 * b_slab, 2 * high, 2 * wide, high * wide

    def product(out, a, b, bounds, a_at, b_at, ld, n_i, n_j, n_k, out_at, bias_at, add):
        if ALIGNED:
            a_shared = cuda.shared.array(a_slabs, dtype, alignment=16)
            b_shared = cuda.shared.array(b_slabs, dtype, alignment=16)
        else:
            a_shared = cuda.shared.array(a_slabs, dtype)
            b_shared = cuda.shared.array(b_slabs, dtype)
        a_from = cuda.local.array(n_a, np.int64)
        b_from = cuda.local.array(n_b, np.int64)
        a_next = cuda.local.array(n_a, dtype)
        b_next = cuda.local.array(n_b, dtype)
        a_own = cuda.local.array(a_pair, dtype)
        b_own = cuda.local.array(b_pair, dtype)
        c = cuda.local.array(n_c, dtype)
        t = cuda.threadIdx.x
        x = t % across * b_v
        y = t // across * a_v
        m = cuda.blockIdx.z
        top = bounds[_u(m)]
        n_rows = bounds[_u(m + 1)] - top
        if gram:
            tiles = (n_j + width - 1) // width
            i0 = cuda.blockIdx.y // tiles * height
            j0 = cuda.blockIdx.y % tiles * width
            skipped = cuda.blockIdx.x * n_k
            top += skipped
            n_k = lesser(n_k, n_rows - skipped)
        else:
            i0 = cuda.blockIdx.x * height
            j0 = cuda.blockIdx.y * width
            n_i = n_rows
        last_i = n_i - 1
        last_j = n_j - 1
        if n_k <= 0 or i0 > last_i:
            return

        # Where the first slab's elements lie, and how far it is from one k to the next.
        a_flat = a.flat
        b_flat = b.flat
        if a_along_k:
            a_k = t % a_lanes
            a_i = t // a_lanes
            a_stride = a.shape[1]
            a_stride_k = 1
        else:
            a_k = t // a_lanes
            a_i = t % a_lanes
            a_stride = 1
            a_stride_k = a.shape[1]
        a_base = top * a.shape[1] + a_at + a_k * a_stride_k
        for s in range(a_steps):
            for q in range(a_lines):
                i = lesser(i0 + a_i + q * a_apart, last_i)
                a_from[s * a_lines + q] = a_base + s * a_apart_k * a_stride_k + i * a_stride
        if b_along_k:
            b_k = t % b_lanes
            b_j = t // b_lanes
            b_stride = ld
            b_stride_k = 1
        else:
            b_k = t // b_lanes
            b_j = t % b_lanes
            b_stride = 1
            b_stride_k = b.shape[1] if gram else ld
        b_base = (top if gram else m) * b.shape[1] + b_at + b_k * b_stride_k
        for s in range(b_steps):
            for q in range(b_lines):
                j = lesser(j0 + b_j + q * b_apart, last_j)
                b_from[s * b_lines + q] = b_base + s * b_apart_k * b_stride_k + j * b_stride

        for q in range(wide):
            start = ZERO
            if not gram and bias_at >= 0:
                j = lesser(j0 + x + q // b_v * b_leap + q % b_v, last_j)
                start = b[_u(m), _u(bias_at + j)]
            for p in range(high):
                c[p * wide + q] = start
        if not gram and add:
            for p in range(high):
                i = top + lesser(i0 + y + p // a_v * a_leap + p % a_v, last_i)
                for q in range(wide):
                    j = out_at + lesser(j0 + x + q // b_v * b_leap + q % b_v, last_j)
                    c[p * wide + q] += out[_u(i), _u(j)]

        a_now = 0
        b_now = 0
        a_gone = 0
        b_gone = 0
        for k0 in range(-depth, n_k, depth):
            k1 = k0 + depth
            for s in range(a_steps):
                inside = k1 + a_k + s * a_apart_k < n_k
                for q in range(a_lines):
                    e = s * a_lines + q
                    a_next[e] = a_flat[_u(a_from[e] + a_gone)] if inside else ZERO
            for s in range(b_steps):
                inside = k1 + b_k + s * b_apart_k < n_k
                for q in range(b_lines):
                    e = s * b_lines + q
                    b_next[e] = b_flat[_u(b_from[e] + b_gone)] if inside else ZERO
            a_gone += depth * a_stride_k
            b_gone += depth * b_stride_k
            if k0 >= 0:
                # Written as multiples of a_v and b_v, for the compiler to see that they are.
                at_a = (a_now + y) // a_v
                at_b = (b_now + x) // b_v
                for _ in range(0, depth, 2):
                    for s in range(2):
                        for p in range(high):
                            i = at_a + s * (a_row // a_v) + p // a_v * down
                            a_own[s * high + p] = a_shared[_u(a_v * i + p % a_v)]
                        for q in range(wide):
                            j = at_b + s * (b_row // b_v) + q // b_v * across
                            b_own[s * wide + q] = b_shared[_u(b_v * j + q % b_v)]
                    for p in range(high):
                        for q in range(wide):
                            for s in range(2):
                                c[p * wide + q] += a_own[s * high + p] * b_own[s * wide + q]
                    at_a += 2 * a_row // a_v
                    at_b += 2 * b_row // b_v
            a_now = a_slab - a_now
            b_now = b_slab - b_now
            at_a = a_now + a_k * a_row + a_i
            at_b = b_now + b_k * b_row + b_j
            for s in range(a_steps):
                for q in range(a_lines):
                    e = s * a_lines + q
                    a_shared[_u(at_a + s * a_apart_k * a_row + q * a_apart)] = a_next[e]
            for s in range(b_steps):
                for q in range(b_lines):
                    e = s * b_lines + q
                    b_shared[_u(at_b + s * b_apart_k * b_row + q * b_apart)] = b_next[e]
            cuda.syncthreads()

        for p in range(high):
            for q in range(wide):
                i = i0 + y + p // a_v * a_leap + p % a_v
                j = j0 + x + q // b_v * b_leap + q % b_v
                if i <= last_i and j <= last_j:
                    if gram:
                        part = m * cuda.gridDim.x + cuda.blockIdx.x
                        out[_u((part * n_i + i) * n_j + j)] = c[p * wide + q]
                    else:
                        out[_u(top + i), _u(out_at + j)] = c[p * wide + q]

    return product

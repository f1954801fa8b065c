"""Weights as fragments of a matrix for tensor cores, and which warp multiplies which.

A warp has 8 units. Forward, its matrix has 32 rows, the units' four gates, one behind the other
in two tiles, and the columns are those of [x_t, 1, h_{t-1}]: a lane's accumulators are then the
four pre-activations of one unit, of two sequences. Backward, the rows are 16 units, the columns
da of all units, four gates each, and two warps share the rows, one for the first half of the
columns and one for the second: each gives the other the sums for 8 of the units.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from numba import types

from numba_lstm.cuda import blocks
from numba_lstm.cuda.device import TENSOR_CAPABILITY, cuda, jit
from numba_lstm.cuda.kinds import Kind, is_fused
from numba_lstm.cuda.tensor_cores import (
    COLUMNS,
    FRAGMENT,
    PRECISIONS,
    depth,
    make_rounded,
    storage,
)
from numba_lstm.parameters import Layout

# For those who compile the kernels: older GPUs lack the instructions.
least_capability = TENSOR_CAPABILITY

# Products at a time, of those whose fragments are not held.
CHUNK = 2

# Registers that a thread needs beside fragments.
OTHER_FORWARD, OTHER_BACKWARD = 56, 72

# Fragments that a thread of the packing kernel goes through, at most.
_ROUNDS = 4


class Division(NamedTuple):
    """What a warp multiplies in a time step.

    Attributes
    ----------
    precision : {"bf16", "tf32"}
        Of what is multiplied.
    H, n_inputs : int
        Units, and numbers that a vector has.
    backward : bool
        Whether it is that of the backward kernel.
    warps : int
        Of a block.
    held, chunks : int
        Products whose fragments stay in registers, and chunks of others.
    """

    precision: str
    H: int
    n_inputs: int
    backward: bool
    warps: int
    held: int
    chunks: int

    @property
    def tiles(self) -> int:
        """Tiles of 16 rows."""
        return 1 if self.backward else 2

    @property
    def products(self) -> int:
        """Products of each tile."""
        return self.held + CHUNK * self.chunks

    @property
    def size(self) -> int:
        """Numbers of a model's fragments."""
        words = 32 * FRAGMENT * self.tiles * self.products * self.warps
        return words * depth(self.precision) // 8


def divide(kind: Kind, n_inputs: int, backward: bool) -> Division:
    """Divide a kernel's products up between registers and memory.

    What a thread needs beside fragments was read off ptxas for all kinds that the tests compile.
    """
    sides, tiles = (2, 1) if backward else (1, 2)
    total = -(-n_inputs // (sides * depth(kind.precision)))
    registers = min(255, 65_536 // kind.threads // 8 * 8)
    other = OTHER_BACKWARD if backward else OTHER_FORWARD
    other += 12 * (kind.varied + kind.masked + kind.zoned)
    most = max(0, registers - other) // (FRAGMENT * tiles)
    warps, held, chunks = kind.threads // 32, total, 0
    if total > most:
        # A chunk's fragments need registers, too. What is missing of the last one are zeros.
        held = max(0, most - CHUNK)
        chunks = -(-(total - held) // CHUNK)
    return Division(kind.precision, kind.H, n_inputs, backward, warps, held, chunks)


def forward_division(kind: Kind) -> Division:
    """What the warps of a forward kernel multiply."""
    return divide(kind, kind.X + kind.H, backward=False)


def backward_division(kind: Kind) -> Division:
    """What the warps of a backward kernel multiply."""
    return divide(kind, 4 * kind.H, backward=True)


def packed_bytes(layout: Layout, precision: str) -> int:
    """Bytes that a model's fragments take, about; 0 without a ``precision``."""
    if not precision:
        return 0
    found = 0
    for cell in layout.cells:
        H, X = cell.hidden_size, cell.n_inputs + layout.bias
        kind = Kind("float32", H, X if is_fused(X, H) else 0, COLUMNS, precision=precision)
        found += forward_division(kind).size + backward_division(kind).size
    return found * storage(precision)[0].itemsize


def pack(packed: Any, theta: Any, at: int, division: Division, stream: Any = 0) -> None:
    """Write a matrix's fragments.

    Parameters
    ----------
    packed : device array of shape (M, division.size)
        Receives them: of each warp, product, tile and lane 16 bytes.
    theta : device array of float32 of shape (M, P)
        Weights.
    at : int
        Place of those that multiply the inputs, (n_inputs, 4H); backward of W_h (H, 4H).
    division : Division
        Of the kernel that multiplies with them.
    stream : stream
        Where it is launched.
    """
    grid = -(-division.size // (_ROUNDS * blocks.THREADS)), theta.shape[0]
    _make_pack(division.precision)[grid, blocks.THREADS, stream](
        *(packed, theta, at, division.H, division.n_inputs, division.products),
        division.backward,
    )


@functools.cache
def _make_pack(precision):
    rounded, D = make_rounded(precision), depth(precision)
    each = D // 8  # numbers of a register

    def pack(packed, theta, at, H, n_inputs, products, backward):
        m, tiles = cuda.blockIdx.y, 1 if backward else 2
        first = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        for e in range(first, packed.shape[1], cuda.gridDim.x * cuda.blockDim.x):
            register, lane = e // each % FRAGMENT, e // (each * FRAGMENT) % 32
            fragment = e // (each * FRAGMENT * 32)
            tile, k, warp = fragment % tiles, fragment // tiles, 0
            warp, k = k // products, k % products
            if backward:
                k += warp % 2 * products
            group, part, low = lane // 4, lane % 4, register % 2
            k = D * k + 2 * each * part + each * (register // 2) + e % each
            if backward:
                row, unit, gate = 16 * (warp // 2) + group + 8 * low, k // 4, k % 4
                there = row < H and unit < H
            else:
                row, unit, gate = k, 8 * warp + group, 2 * tile + low
                there = row < n_inputs and unit < H
            weight = theta.dtype.type(0)
            if there:
                weight = theta[m, at + (row * 4 + gate) * H + unit]
            packed[m, e] = rounded(weight)

    return jit(pack)


def compile_cases() -> list[tuple]:
    """Name, Python function, signature and threads of a block of each kernel."""
    size, flag, theta = types.int64, types.boolean, types.Array(types.float32, 2, "C")
    return [
        (
            f"pack {precision}",
            _make_pack(precision).py_func,
            (types.Array(storage(precision)[1], 2, "C"), theta, *[size] * 4, flag),
            blocks.THREADS,
        )
        for precision in PRECISIONS
    ]


def kinds_to_compile() -> list[Kind]:
    """Kinds of the recurrence that between them have everything in them."""
    found = []
    for precision in PRECISIONS:
        plain = [(64, 17, 4), (64, 17, 8), (32, 9, 8), (37, 6, 8), (128, 0, 8), (256, 0, 8)]
        kinds = [Kind("float32", *sizes, keeps=True) for sizes in plain]
        kinds += [
            *(Kind("float32", 128, 33, NB, True, True) for NB in (4, 8)),
            Kind("float32", 256, 33, 4, True, True),
            Kind("float32", 64, 17, 8),
            Kind("float32", 64, 17, 8, True, True, True, False, True, True, True, True),
            Kind("float32", 128, 33, 8, True, True, True, False, True, True, True, True),
            Kind("float32", 64, 0, 4, True, True, False, True, False, True, True, False),
        ]
        kinds += [kinds[-2]._replace(zoned=True), Kind("float32", 256, 0, 8, True, zoned=True)]
        found += [kind._replace(precision=precision) for kind in kinds]
    return found

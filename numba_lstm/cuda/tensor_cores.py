"""Matrix products on tensor cores: fragments in registers, and warps that multiply them.

``mma.sync`` multiplies matrices that the 32 threads of a warp hold together, A (16 x D) with
B (D x 8), and adds the product to C (16 x 8) in float32. D, the depth, is 16 in bfloat16, two
numbers a register, and 8 in TensorFloat-32. With ``group = lane // 4`` and ``part = lane % 4``
a lane holds (PTX ISA, "Warp level matrix multiply-accumulate instructions")

    A: rows group and group + 8, in turn, of columns that belong to ``part``: 4 registers;
    B: rows that belong to ``part`` of column group: 2 registers;
    C: columns 2 part and 2 part + 1 of row group, then of row group + 8: 4 numbers.

Which D numbers meet in a product is all the same to it, as long as A and B agree. Here the
D / 4 numbers from ``part * D / 4`` on belong to ``part``, so that B lies in memory as 8 rows of
D numbers, a sequence each, of which every lane reads 8 bytes: all of it in one go, without
conflicts between banks. The fragments of A are packed beforehand (tensor_packing.py), 16 bytes
a lane.

Under Numba's simulator plain Python takes the place of what is emitted here, but for the
product itself, which its stand-in ``cuda.mma`` makes of all lanes' registers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, float32, int32, types, uint16
from numba.extending import intrinsic

from numba_lstm.cuda.device import cuda, device_function

# Sequences of a block: the columns of B.
COLUMNS = 8

# What numbers may be rounded to before they are multiplied.
PRECISIONS = "bf16", "tf32"

# Registers of a lane that a fragment of A takes, and words of B that all lanes read.
FRAGMENT, WORDS = 4, 64

_SHAPES = {
    "bf16": "m16n8k16.row.col.f32.bf16.bf16.f32",
    "tf32": "m16n8k8.row.col.f32.tf32.tf32.f32",
}

_I16, _I32, _I64, _REAL = (*map(ir.IntType, (16, 32, 64)), ir.FloatType())


def depth(precision: str) -> int:
    """Numbers that a product adds up."""
    return 16 if precision == "bf16" else 8


def storage(precision: str) -> tuple[np.dtype, Any]:
    """What rounded numbers are stored as: NumPy's type and Numba's."""
    return (np.dtype("u2"), uint16) if precision == "bf16" else (np.dtype("f4"), float32)


@functools.cache
def make_rounded(precision: str) -> Callable:
    """Make ``rounded(x)``: a number of float32 as it is stored, the nearest that there is."""
    if config.ENABLE_CUDASIM:
        return functools.partial(_rounded, 16 if precision == "bf16" else 13)
    narrow = precision == "bf16"

    @intrinsic
    def rounded(typingctx, x):
        def codegen(context, builder, signature, args):
            kind, code = (_I16, "cvt.rn.bf16.f32") if narrow else (_I32, "cvt.rna.tf32.f32")
            constraints = "=h,f" if narrow else "=r,f"
            convert = ir.InlineAsm(ir.FunctionType(kind, [_REAL]), f"{code} $0, $1;", constraints)
            found = builder.call(convert, args)
            return found if narrow else builder.bitcast(found, _REAL)

        return (uint16 if narrow else float32)(float32), codegen

    return rounded


@functools.cache
def make_take(n: int) -> Callable:
    """Make the function that takes fragments into registers.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    callable
        ``take(packed, start)``: a tuple of 4 n registers; of fragment k those that begin at
        word ``start + 128 k``, counted over all of ``packed``.
    """
    if config.ENABLE_CUDASIM:
        return functools.partial(_take, n)

    @intrinsic
    def take(typingctx, packed, start):
        def codegen(context, builder, signature, args):
            start = context.cast(builder, args[1], signature.args[1], types.intp)
            words = _words(context, builder, signature.args[0], args[0])
            kind, found = ir.VectorType(_I32, FRAGMENT), []
            for k in range(n):
                place = builder.add(start, ir.Constant(_I64, 32 * FRAGMENT * k))
                found += _loaded(builder, words, place, kind)
            return context.make_tuple(builder, signature.return_type, found)

        return types.UniTuple(int32, FRAGMENT * n)(packed, start), codegen

    return take


@functools.cache
def make_multiply(precision: str, n: int, tiles: int) -> Callable:
    """Make the function that multiplies fragments with vectors of 8 sequences.

    Parameters
    ----------
    precision : {"bf16", "tf32"}
        Of what is multiplied.
    n : int
        Products one after the other.
    tiles : int
        Rows of A are 16 times that: 1 or 2.

    Returns
    -------
    callable
        ``multiply(sums, fragments, vectors, start)``: the sums, two accumulators of four
        numbers, and what fragments ``tiles * k + tile`` give with the lane's words of B at
        ``start + 64 k``, counted over the shared array ``vectors``. The accumulators are those
        of the tiles, or if there is one tile of even and of odd k, so that no product waits for
        the one before.
    """
    if config.ENABLE_CUDASIM:
        return _stand_in(precision, n, tiles)

    @intrinsic
    def multiply(typingctx, sums, fragments, vectors, start):
        def codegen(context, builder, signature, args):
            sums, fragments, vectors, start = args
            start = context.cast(builder, start, signature.args[3], types.intp)
            words = _words(context, builder, signature.args[2], vectors)
            mma = _mma(precision)
            totals = [builder.extract_value(sums, i) for i in range(8)]
            for k in range(n):
                place = builder.add(start, ir.Constant(_I64, WORDS * k))
                b = _loaded(builder, words, place, ir.VectorType(_I32, 2))
                for tile in range(tiles):
                    first = FRAGMENT * (tiles * k + tile)
                    a = [builder.extract_value(fragments, first + i) for i in range(FRAGMENT)]
                    at = 4 * _accumulator(tiles, k, tile)
                    own = slice(at, at + 4)
                    found = builder.call(mma, [*a, *b, *totals[own]], attrs=("convergent",))
                    totals[own] = [builder.extract_value(found, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, totals)

        return sums(sums, fragments, vectors, start), codegen

    return multiply


def _accumulator(tiles, k, tile):
    return tile if tiles == 2 else k & 1


def _mma(precision):
    """The instruction."""
    result = ir.LiteralStructType([_REAL] * 4)
    code = (
        f"mma.sync.aligned.{_SHAPES[precision]} "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
    )
    constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
    return ir.InlineAsm(ir.FunctionType(result, [_I32] * 6 + [_REAL] * 4), code, constraints)


def _words(context, builder, kind, array):
    """Address of an array's first element, as one of words."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(data, _I32.as_pointer())


def _loaded(builder, words, place, kind):
    where = builder.bitcast(builder.gep(words, [place]), kind.as_pointer())
    loaded = builder.load(where)
    loaded.align = 4 * kind.count
    return [builder.extract_element(loaded, ir.Constant(_I32, i)) for i in range(kind.count)]


# -- in the simulator ---------------------------------------------------------------


def _rounded(bits, x):
    """Without so many bits at the end, the nearest; of two the even one, or in tf32 the larger."""
    word = int(np.float32(x).view(np.uint32))
    word += (1 << (bits - 1)) - (1 - (word >> bits & 1) if bits == 16 else 0)
    word = word >> bits & (1 << 32 - bits) - 1
    return np.uint16(word) if bits == 16 else np.uint32(word << bits).view(np.float32)


def _take(n, packed, start):
    words = packed.reshape(-1).view(np.uint32)
    places = (start + 32 * FRAGMENT * k + i for k in range(n) for i in range(FRAGMENT))
    return tuple(words[place] for place in places)


def _stand_in(precision, n, tiles):
    @device_function
    def multiply(sums, fragments, vectors, start):
        totals, words = list(sums), vectors.view(np.uint32)
        for k in range(n):
            place = start + WORDS * k
            for tile in range(tiles):
                first, at = FRAGMENT * (tiles * k + tile), 4 * _accumulator(tiles, k, tile)
                totals[at : at + 4] = cuda.mma(
                    precision,
                    fragments[first : first + FRAGMENT],
                    (words[place], words[place + 1]),
                    totals[at : at + 4],
                )
        return tuple(totals)

    return multiply

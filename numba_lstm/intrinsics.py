"""What Numba has no word for: a fused multiply-add, and a view that costs nothing.

Each is a plain function, which is what runs under ``NUMBA_DISABLE_JIT=1``, and an
intrinsic that takes its place in compiled code.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numba.np import arrayobj


@intrinsic
def _fmuladd(typingctx, x, y, z):
    if not (x == y == z and x in (types.float32, types.float64)):
        return None

    def codegen(context, builder, signature, args):
        # fmuladd, not fma: without FMA instructions the latter is a library call.
        real = args[0].type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(real, [real] * 3), f"llvm.fmuladd.f{x.bitwidth}"
        )
        return builder.call(function, args)

    return x(x, y, z), codegen


def fma(x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, rounded once with FMA instructions, for three of one dtype."""
    return x * y + z


@overload(fma, inline="always")
def _fma(x, y, z):
    return lambda x, y, z: _fmuladd(x, y, z)


@intrinsic
def _borrow(typingctx, array, start, length):
    if not (isinstance(array, types.Array) and array.layout == "C"):
        return None
    view = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        source = arrayobj.make_array(array)(context, builder, args[0])
        result = arrayobj.make_array(view)(context, builder)
        itemsize = context.get_constant(types.intp, array.dtype.bitwidth // 8)
        arrayobj.populate_array(
            result,
            data=builder.gep(source.data, [args[1]]),
            shape=[args[2]],
            strides=[itemsize],
            itemsize=itemsize,
            meminfo=None,  # nobody counts this reference
        )
        return result._getvalue()

    return view(array, types.intp, types.intp), codegen


def borrow(array: Any, start: Any, length: Any) -> Any:
    """Return ``length`` elements of a C-contiguous array from element ``start`` on.

    A slice counts references, atomically: 5 to 10 ns each, which for the nine of a
    row is more than the row's arithmetic below H = 64. A borrowed view does not, and
    must not outlive the array. Bounds are not checked.
    """
    return array.reshape(-1)[start : start + length]


@overload(borrow, inline="always")
def _borrow_overload(array, start, length):
    return lambda array, start, length: _borrow(array, start, length)

"""The fused multiply-add x y + z, where the processor has one."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload


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

"""LLVM instructions for numbers and vectors, and how wide vectors are here."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils


def vector_bits() -> int:
    """Width in bits of the vectors that the kernels are compiled for."""
    if (config.CPU_NAME or "") == "generic":
        return 128
    features = config.CPU_FEATURES
    if features is None:
        host = llvm.get_host_cpu_features()
        enabled = {name for name, present in host.items() if present}
    else:
        enabled = {name[1:] for name in features.split(",") if name.startswith("+")}
    if "avx512f" in enabled:
        return 512
    return 256 if {"avx2", "fma"} <= enabled else 128


BITS = vector_bits()

# Whether x y + z is surely rounded once: not so in Python.
HAS_FMA = BITS > 128 and not config.DISABLE_JIT


def llvm_real(dtype: types.Float) -> ir.Type:
    """LLVM's type of one element."""
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def llvm_vector(dtype: types.Float) -> ir.VectorType:
    """LLVM's type of a vector."""
    return ir.VectorType(llvm_real(dtype), BITS // dtype.bitwidth)


def splat(builder: ir.IRBuilder, value: ir.Value, vector: ir.VectorType) -> ir.Value:
    """Emit a vector that has ``value`` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, vector.count), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


def llvm_function(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list) -> Any:
    """Declare a function, an LLVM intrinsic say, in the module under construction."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def suffix(kind: ir.Type) -> str:
    """Part of an LLVM intrinsic's name that stands for a type."""
    lanes = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
    element = kind.element if lanes else kind
    return f"{lanes}f{32 if isinstance(element, ir.FloatType) else 64}"


def first_lanes(builder: ir.IRBuilder, n: ir.Value, count: int) -> ir.Value:
    """Emit a mask of the first n lanes."""
    indices = ir.VectorType(ir.IntType(64), count)
    return builder.icmp_signed(
        "<", ir.Constant(indices, list(range(count))), splat(builder, n, indices)
    )


def emit_load(builder, vector, pointer, mask=None):
    """Emit the load of a vector from a pointer to its first element."""
    where = builder.bitcast(pointer, vector.as_pointer())
    size = 4 if suffix(vector).endswith("32") else 8
    if mask is None:
        value = builder.load(where)
        value.align = size
        return value
    function = llvm_function(
        builder,
        f"llvm.masked.load.{suffix(vector)}.p0{suffix(vector)}",
        vector,
        [where.type, ir.IntType(32), mask.type, vector],
    )
    align = ir.Constant(ir.IntType(32), size)
    return builder.call(function, [where, align, mask, ir.Constant(vector, None)])


def emit_store(builder, value, pointer, mask=None):
    """Emit the store of a vector to a pointer to its first element."""
    vector = value.type
    where = builder.bitcast(pointer, vector.as_pointer())
    size = 4 if suffix(vector).endswith("32") else 8
    if mask is None:
        builder.store(value, where).align = size
        return
    function = llvm_function(
        builder,
        f"llvm.masked.store.{suffix(vector)}.p0{suffix(vector)}",
        ir.VoidType(),
        [vector, where.type, ir.IntType(32), mask.type],
    )
    builder.call(function, [value, where, ir.Constant(ir.IntType(32), size), mask])


def emit_prefetch(builder, pointer):
    """Emit the fetching of a cache line, up to the second-level cache, for later."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kinds = [byte, number, number, number]
    function = llvm_function(builder, "llvm.prefetch.p0i8", ir.VoidType(), kinds)
    for_reading, second_level, data = number(0), number(2), number(1)
    where = builder.bitcast(pointer, byte)
    builder.call(function, [where, for_reading, second_level, data])

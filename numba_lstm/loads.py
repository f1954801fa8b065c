"""Vector registers loaded from and stored to views."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.extending import type_callable

from numba_lstm._llvm import BITS, emit_load, emit_store, first_lanes, llvm_vector
from numba_lstm.memory import View, check_end, parts_of
from numba_lstm.vectors import Vector


def lanes(array: np.ndarray) -> int:
    """Elements of an array's dtype in a vector."""
    return BITS // 8 // array.itemsize


@type_callable(lanes)
def _type_lanes(context):
    return lambda array: types.intp


@lower_builtin(lanes, View)
def _lower_lanes(context, builder, sig, args):
    return context.get_constant(types.intp, BITS // sig.args[0].dtype.bitwidth)


def load(array: np.ndarray, start: int, n: int) -> Any:
    """Load ``n`` elements of a C-contiguous array, from its element ``start`` on.

    Lanes from n on are zero; with n at least the number of lanes, all are loaded.
    Bounds are not checked.
    """
    vector, n = np.zeros(lanes(array), array.dtype), min(n, lanes(array))
    vector[:n] = array.reshape(-1)[start : start + n]
    return vector


def store(vector: Any, array: np.ndarray, start: int, n: int) -> None:
    """Store the first ``n`` lanes of a vector, in the array's dtype; see :func:`load`."""
    n = min(n, vector.size)
    array.reshape(-1)[start : start + n] = vector[:n]


@type_callable(load)
def _type_load(context):
    return lambda array, start, n: Vector(array.dtype) if isinstance(array, View) else None


@type_callable(store)
def _type_store(context):
    return lambda vector, array, start, n: types.none


def _check(context, builder, kind, value, start, n, lanes):
    """Emit a check of where a vector ends, where that is asked for."""
    if context.enable_boundscheck:
        fewer = builder.icmp_signed("<", n, n.type(lanes))
        end = builder.add(start, builder.select(fewer, n, n.type(lanes)))
        check_end(context, builder, kind, value, end)


def _pointer(context, builder, kind, value, start):
    return builder.gep(parts_of(context, builder, kind, value)[0], [start])


def _emit_load(builder, vector, pointer, n):
    """Emit the load of the first n lanes of a vector."""
    with builder.if_else(_is_whole(builder, n, vector.count)) as (all_lanes, some_lanes):
        with all_lanes:
            value, block = emit_load(builder, vector, pointer), builder.block
        with some_lanes:
            mask = first_lanes(builder, n, vector.count)
            part, part_block = emit_load(builder, vector, pointer, mask), builder.block
    return _either(builder, (value, block), (part, part_block))


def _emit_store(builder, value, pointer, n):
    """Emit the store of the first n lanes of a vector."""
    with builder.if_else(_is_whole(builder, n, value.type.count)) as (all_lanes, some_lanes):
        with all_lanes:
            emit_store(builder, value, pointer)
        with some_lanes:
            emit_store(builder, value, pointer, first_lanes(builder, n, value.type.count))


def _is_whole(builder, n, lanes):
    return builder.icmp_signed(">=", n, ir.Constant(n.type, lanes))


def _either(builder, *incoming):
    """Emit the choice between values that come from different blocks."""
    result = builder.phi(incoming[0][0].type)
    for value, block in incoming:
        result.add_incoming(value, block)
    return result


@lower_builtin(load, View, types.Integer, types.Integer)
def _lower_load(context, builder, sig, args):
    vector = llvm_vector(sig.return_type.dtype)
    _check(context, builder, sig.args[0], *args, vector.count)
    pointer = _pointer(context, builder, sig.args[0], *args[:2])
    return _emit_load(builder, vector, pointer, args[2])


@lower_builtin(store, Vector, View, types.Integer, types.Integer)
def _lower_store(context, builder, sig, args):
    value, array, start, n = args
    _check(context, builder, sig.args[1], array, start, n, value.type.count)
    kind = llvm_vector(sig.args[1].dtype).element
    if value.type.element != kind:
        value = builder.fptrunc(value, ir.VectorType(kind, value.type.count))
    _emit_store(builder, value, _pointer(context, builder, sig.args[1], array, start), n)
    return context.get_dummy_value()


def read_reals(memory: np.ndarray, place: int, itemsize: int, n: int) -> Any:
    """Load ``n`` numbers, float32 (``itemsize`` 4) or float64 (8), from a byte on, in float64.

    So that data in either precision reach the same compiled kernels. As :func:`load`, but that
    bounds are never checked.
    """
    vector = np.zeros(BITS // 64)
    n = min(n, vector.size)
    kind = np.float64 if itemsize == 8 else np.float32
    vector[:n] = memory[place : place + n * itemsize].view(kind)
    return vector


@type_callable(read_reals)
def _type_read_reals(context):
    return lambda memory, place, itemsize, n: Vector(types.float64)


@lower_builtin(read_reals, View, types.Integer, types.Integer, types.Integer)
def _lower_read_reals(context, builder, sig, args):
    memory, place, itemsize, n = args
    byte = _pointer(context, builder, sig.args[0], memory, place)
    wide = llvm_vector(types.float64)
    narrow = ir.VectorType(ir.FloatType(), wide.count)
    is_wide = builder.icmp_signed("==", itemsize, ir.Constant(itemsize.type, 8))
    with builder.if_else(is_wide) as (double, single):
        with double:
            value, block = _emit_load(builder, wide, byte, n), builder.block
        with single:
            short = _emit_load(builder, narrow, byte, n)
            longer, longer_block = builder.fpext(short, wide), builder.block
    return _either(builder, (value, block), (longer, longer_block))

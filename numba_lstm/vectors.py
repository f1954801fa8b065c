"""Arithmetic that reads the same for a number, for a vector register, and for NumPy.

LLVM vectorises a loop over numbers when it can prove that it may: eight arrays in one
loop need some twenty comparisons of addresses in front of it, and what is left over at
its end runs one number at a time. Here the vector is a type of its own instead. The
equations of cell.py, written once, compile for a float (as on a GPU) and for a
:class:`Vector`, and run on NumPy arrays under ``NUMBA_DISABLE_JIT=1``. On the CPU a gate
loop goes in vectors by construction, to its last element (docs/performance.md has the gain).

Each operation is a plain function, which is what runs without the JIT, and an emitter
of LLVM instructions that takes its place in compiled code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature
from numba.extending import models, register_model, type_callable

from numba_lstm._llvm import (
    BITS,
    llvm_function,
    llvm_vector,
    splat,
    suffix,
)


class Vector(types.Type):
    """A vector register of float32 or float64, in compiled code.

    Parameters
    ----------
    dtype : numba.types.Float
        Type of the elements.
    """

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype}, {BITS})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, llvm_vector(vector.dtype))


# -- numbers and vectors ------------------------------------------------------------


def _common(args):
    """Type of an operation on numbers and vectors of one dtype, or None."""
    dtypes = {getattr(arg, "dtype", arg) for arg in args}
    if len(dtypes) != 1 or not dtypes <= {types.float32, types.float64}:
        return None
    vectors = [arg for arg in args if isinstance(arg, Vector)]
    return vectors[0] if vectors else args[0]


def _emit(builder, emit, sig, args):
    """Emit an operation whose arguments are numbers and vectors of one dtype."""
    if isinstance(sig.return_type, Vector):
        vector = llvm_vector(sig.return_type.dtype)
        args = [
            arg if isinstance(kind, Vector) else splat(builder, arg, vector)
            for kind, arg in zip(sig.args, args, strict=True)
        ]
    return emit(builder, *args)


def _define(function: Callable, emit: Callable, n_args: int) -> None:
    """Teach Numba a function, or for vectors an operator."""
    own = function.__module__ == __name__  # operators of numbers are Numba's business

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            if len(args) != n_args or not (own or any(isinstance(a, Vector) for a in args)):
                return None
            result = _common(args)
            return None if result is None else signature(result, *args)

    infer(Template)
    infer_global(function, types.Function(Template))

    def lower(context, builder, sig, args):
        return _emit(builder, emit, sig, args)

    for number in range(1 << n_args):
        kinds = [(Vector, types.Float)[number >> k & 1] for k in range(n_args)]
        if own or Vector in kinds:
            lower_builtin(function, *kinds)(lower)


def _operation(emit: Callable) -> Callable:
    """Decorate a function with what it is in compiled code."""

    def decorate(function):
        _define(function, emit, function.__code__.co_argcount)
        return function

    return decorate


_define(operator.add, lambda builder, x, y: builder.fadd(x, y), 2)
_define(operator.sub, lambda builder, x, y: builder.fsub(x, y), 2)
_define(operator.mul, lambda builder, x, y: builder.fmul(x, y), 2)
_define(operator.truediv, lambda builder, x, y: builder.fdiv(x, y), 2)
_define(operator.neg, lambda builder, x: builder.fneg(x), 1)


def _intrinsic(name):
    def emit(builder, *args):
        kind = args[0].type
        function = llvm_function(builder, f"llvm.{name}.{suffix(kind)}", kind, [kind] * len(args))
        return builder.call(function, args)

    return emit


# fmuladd, not fma: without FMA instructions the latter is a library call.
@_operation(_intrinsic("fmuladd"))
def fma(x: Any, y: Any, z: Any) -> Any:
    """Return x y + z, rounded once with FMA instructions."""
    return x * y + z


def _emit_magnitude(builder, x):
    if isinstance(x.type, ir.VectorType):
        return _intrinsic("fabs")(builder, x)
    integer, sign = _sign_bit(x.type)
    bits = builder.and_(builder.bitcast(x, integer), builder.not_(sign))
    return builder.bitcast(bits, x.type)


def _emit_copysign(builder, x, y):
    if isinstance(x.type, ir.VectorType):
        return _intrinsic("copysign")(builder, x, y)
    integer, sign = _sign_bit(x.type)
    bits = builder.and_(builder.bitcast(x, integer), builder.not_(sign))
    bits = builder.or_(bits, builder.and_(builder.bitcast(y, integer), sign))
    return builder.bitcast(bits, x.type)


def _sign_bit(kind):
    """Type of a number's bits, and its sign's: NVVM has neither fabs nor copysign."""
    n_bits = 32 if suffix(kind).endswith("32") else 64
    return ir.IntType(n_bits), ir.Constant(ir.IntType(n_bits), 1 << (n_bits - 1))


def _emit_quotient(builder, x, y):
    if "nvptx" not in builder.module.triple or not isinstance(y.type, ir.FloatType):
        return builder.fdiv(x, y)
    # GPUs have no division, and the exact one of software has a branch and 20 instructions.
    kind = ir.FunctionType(y.type, [y.type])
    estimate = ir.InlineAsm(kind, "rcp.approx.ftz.f32 $0, $1;", "=f,f", side_effect=False)
    fma = llvm_function(builder, "llvm.fma.f32", y.type, [y.type] * 3)
    r = builder.call(estimate, [y])
    q = builder.fmul(x, r)
    minus_y = builder.fsub(ir.Constant(y.type, -0.0), y)  # NVVM may be too old for fneg
    return builder.call(fma, [builder.call(fma, [minus_y, q, x]), r, q])


@_operation(_emit_quotient)
def quotient(x: Any, y: Any) -> Any:
    """Return x / y of numbers between 1e-37 and 1e37; on a GPU in float32 to 1 or 2 ulp."""
    return x / y


def _emit_reciprocal(builder, y):
    single = isinstance(getattr(y.type, "element", y.type), ir.FloatType)
    is_vector = isinstance(y.type, ir.VectorType)
    if BITS < 512 or not single or "nvptx" in builder.module.triple:
        one = ir.Constant(y.type, [1.0] * y.type.count if is_vector else 1.0)
        return _emit_quotient(builder, one, y)
    if not is_vector:  # the same bits
        vector = ir.VectorType(y.type, BITS // 32)
        of_vector = _emit_reciprocal(builder, splat(builder, y, vector))
        return builder.extract_element(of_vector, ir.Constant(ir.IntType(32), 0))
    # An estimate of 14 bits and a Newton step.
    mask = ir.IntType(y.type.count)
    name = "llvm.x86.avx512.rcp14.ps.512"
    function = llvm_function(builder, name, y.type, [y.type, y.type, mask])
    r = builder.call(function, [y, ir.Constant(y.type, ir.Undefined), mask(-1)])
    one, fma = ir.Constant(y.type, [1.0] * y.type.count), _intrinsic("fma")
    return fma(builder, fma(builder, builder.fneg(y), r, one), r, r)


@_operation(_emit_reciprocal)
def reciprocal(y: Any) -> Any:
    """Return 1 / y of numbers between 1e-37 and 1e37, in float32 to 1 or 2 ulp.

    With AVX-512 it takes no division in float32: with three of their five divisions left out,
    the cell's functions take 6 % less time on a Xeon; in float64, or with none left, no less.
    """
    return constant(y, 1.0) / y


@_operation(_emit_magnitude)
def magnitude(x: Any) -> Any:
    """Return |x|."""
    return abs(x)


@_operation(_emit_copysign)
def copysign(x: Any, y: Any) -> Any:
    """Return x with the sign of y."""
    return np.copysign(x, y)


@_operation(lambda builder, x, y: builder.select(builder.fcmp_ordered(">", x, y), y, x))
def at_most(x: Any, bound: Any) -> Any:
    """Return the lesser of x and a bound; NaN where x is NaN."""
    return np.where(x > bound, bound, x)[()]


@_operation(lambda builder, x, y: builder.select(builder.fcmp_ordered("<", x, y), y, x))
def at_least(x: Any, bound: Any) -> Any:
    """Return the greater of x and a bound; NaN where x is NaN."""
    return np.where(x < bound, bound, x)[()]


def _emit_where_inside(builder, x, low, high, value):
    inside = builder.and_(builder.fcmp_ordered(">", x, low), builder.fcmp_ordered("<", x, high))
    return builder.select(inside, value, ir.Constant(value.type, None))


@_operation(_emit_where_inside)
def where_inside(x: Any, low: Any, high: Any, value: Any) -> Any:
    """Return ``value`` where low < x < high, and 0 elsewhere."""
    return np.where((x > low) & (x < high), value, np.zeros_like(value))[()]


# Bits of the mantissa, and what is added to the exponent.
_FORMATS = {np.float32: (np.int32, 23), np.float64: (np.int64, 52)}


def _emit_power_of_two(builder, z):
    kind = z.type
    single = suffix(kind).endswith("32")
    _, shift = _FORMATS[np.float32 if single else np.float64]
    number = ir.IntType(32 if single else 64)
    if isinstance(kind, ir.VectorType):
        number, shift = ir.VectorType(number, kind.count), [shift] * kind.count
    bits = builder.shl(builder.bitcast(z, number), ir.Constant(number, shift))
    return builder.bitcast(bits, kind)


@_operation(_emit_power_of_two)
def power_of_two(z: Any) -> Any:
    """Return 2^n for the integer n in the low bits of z's mantissa, the exponent's bias added."""
    integer, shift = _FORMATS[z.dtype.type]
    return (np.asarray(z).view(integer) << shift).astype(integer).view(z.dtype)[()]


def constant(x: Any, single: float, double: float | None = None) -> Any:
    """Return a number of x's dtype, which goes with numbers and with vectors.

    ``double``, if given, takes the place of ``single`` in float64.
    """
    dtype = np.asarray(x).dtype.type
    return dtype(single if double is None or dtype is np.float32 else double)


@type_callable(constant)
def _type_constant(context):
    return lambda x, single, double=None: getattr(x, "dtype", x)


@lower_builtin(constant, types.Any, types.Float)
@lower_builtin(constant, types.Any, types.Float, types.Float)
def _lower_constant(context, builder, sig, args):
    which = -1 if sig.return_type == types.float64 else 1
    return context.cast(builder, args[which], sig.args[which], sig.return_type)


def total(x: Any) -> Any:
    """Sum of the elements of a vector."""
    return np.sum(x)


@type_callable(total)
def _type_total(context):
    return lambda x: x.dtype if isinstance(x, Vector) else None


@lower_builtin(total, Vector)
def _lower_total(context, builder, sig, args):
    (value,) = args
    number = ir.IntType(32)
    while value.type.count > 1:
        # Halves, and not one after the other, which takes several times as long.
        half = value.type.count // 2
        parts = (
            ir.Constant(ir.VectorType(number, half), list(range(first, first + half)))
            for first in (0, half)
        )
        value = builder.fadd(*(builder.shuffle_vector(value, value, part) for part in parts))
    return builder.extract_element(value, ir.Constant(number, 0))


def drawn(like: Any, key: Any, first: Any, bound: Any) -> Any:
    """Return 1 where a hash of ``key`` and a number is below ``bound``, else 0.

    The numbers go from ``first`` on, one for each lane of ``like``, or for the one number that
    it is; all three are uint32. The hash is "lowbias32" of Wellons' Hash Function Prospector.
    """
    numbers = (np.arange(np.size(like)) + int(first)).astype(np.uint32) * np.uint32(_SPREAD)
    below = (_hash_numpy(numbers ^ key) < bound).astype(like.dtype)
    return below if np.ndim(like) else below[0]


def hashed(key: Any) -> Any:
    """Return the hash of one uint32."""
    return _hash_numpy(np.array([key], np.uint32))[0]


_SPREAD, _HASH = 0x9E3779B9, ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1))


def _hash_numpy(x):
    for shift, factor in _HASH:
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x


def _emit_hash(builder, x):
    def number(value):
        many = isinstance(x.type, ir.VectorType)
        return ir.Constant(x.type, [value] * x.type.count if many else value)

    for shift, factor in _HASH:
        x = builder.mul(builder.xor(x, builder.lshr(x, number(shift))), number(factor))
    return x


@type_callable(hashed)
def _type_hashed(context):
    return lambda key: types.uint32


@lower_builtin(hashed, types.uint32)
def _lower_hashed(context, builder, sig, args):
    return _emit_hash(builder, args[0])


@type_callable(drawn)
def _type_drawn(context):
    kinds = Vector, types.Float
    return lambda like, key, first, bound: like if isinstance(like, kinds) else None


@lower_builtin(drawn, types.Float, types.uint32, types.uint32, types.uint32)
def _lower_drawn_number(context, builder, sig, args):
    _, key, number, bound = args
    number = builder.mul(number, ir.Constant(number.type, _SPREAD))
    below = builder.icmp_unsigned("<", _emit_hash(builder, builder.xor(number, key)), bound)
    return builder.uitofp(below, args[0].type)


@lower_builtin(drawn, Vector, types.uint32, types.uint32, types.uint32)
def _lower_drawn(context, builder, sig, args):
    vector = args[0].type
    integers = ir.VectorType(ir.IntType(32), vector.count)
    key, first, bound = (splat(builder, arg, integers) for arg in args[1:])
    numbers = builder.add(first, ir.Constant(integers, list(range(vector.count))))
    numbers = builder.mul(numbers, ir.Constant(integers, [_SPREAD] * vector.count))
    below = builder.icmp_unsigned("<", _emit_hash(builder, builder.xor(numbers, key)), bound)
    one, zero = (ir.Constant(vector, [value] * vector.count) for value in (1.0, 0.0))
    return builder.select(below, one, zero)

"""The logistic sigmoid and the hyperbolic tangent, without calls and branches.

``math.tanh`` and ``math.exp`` are calls into the C library, one element at a
time (9 ns each where a loop over these takes under 1 ns), and Numba no longer
ships SVML. Both functions here rest on one reduction,

    exp(y) = 2^n exp(r),   n = round(y / ln 2),   r = y - n ln 2,

after Cody and Waite (Software Manual for the Elementary Functions, 1980), with polynomials
fitted on [-ln(2)/2, ln(2)/2] for least relative error: for tanh p = exp(r) - 1 (error below
2e-8 in float32 and 4e-17 in float64, before rounding), so that nothing cancels near 0; for the
sigmoid in float32 exp(r) itself (1.1e-7). No branches; NaN passes through. All of it is for
numbers and for vectors (vectors.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from numba_lstm._jit import helper
from numba_lstm._llvm import HAS_FMA
from numba_lstm.vectors import (
    at_least,
    at_most,
    constant,
    copysign,
    fma,
    magnitude,
    power_of_two,
    quotient,
)

_f32, _f64 = np.float32, np.float64

# Adding 1.5 * 2^(mantissa bits) rounds to an integer, which then stands in the
# low bits of the sum: shifted into the exponent's place it makes 2^n.
_MAGIC_32, _MAGIC_64 = _f32(1.5 * 2.0**23), _f64(1.5 * 2.0**52)
_LOG2E_32, _LOG2E_64 = _f32(1.4426950408889634), _f64(1.4426950408889634)
# ln 2 in two parts, of which the first has enough trailing zeros for n times it to be
# exact. With FMA instructions nothing is rounded before the difference is: one part is then
# enough in float32, where it happens to be within 2e-9 of ln 2.
_LN2_32 = _f32(0.6931471805599453)
_LN2_HI_32, _LN2_LO_32 = _f32(0.693359375), _f32(-2.1219444e-4)
_LN2_HI_64, _LN2_LO_64 = _f64(6.93145751953125e-1), _f64(1.42860682030941723212e-6)

# The coefficients of (exp(r) - 1 - r) / r^2, constant term first, for the least relative
# error of exp(r) - 1; and for the least one of exp(r), which takes one less in float32.
_P_32 = tuple(
    _f32(c)
    for c in (
        0.49999998149517155,
        0.16666543422808294,
        0.04166720074895387,
        0.008366547270789764,
        0.001388251390545634,
    )
)
_Q_32 = tuple(
    _f32(c)
    for c in (
        0.49999230305767983,
        0.1666711523456029,
        0.041890332316324407,
        0.008312514564126756,
    )
)
_P_64 = tuple(
    _f64(c)
    for c in (
        0.50000000000000010221,
        0.16666666666666667453,
        0.041666666666624127873,
        0.0083333333333300618325,
        0.0013888888917213716901,
        0.00019841269863053616878,
        2.4801521295954374e-5,
        2.7557268459997065e-6,
        2.7620088445409748e-7,
        2.5100385495510319e-8,
    )
)


@helper(inline=True)
def _reduced_32(y):
    """Return z, whose low bits hold n, and y - n ln 2, for |y| <= 87 in float32."""
    z = fma(y, _LOG2E_32, _MAGIC_32)
    n = z - _MAGIC_32
    if HAS_FMA:
        return z, fma(-n, _LN2_32, y)
    return z, fma(-n, _LN2_LO_32, fma(-n, _LN2_HI_32, y))


def _expm1_parts_32(y):
    """Return (2^n, p) of the module's formula for |y| <= 40 in float32."""
    z, r = _reduced_32(y)
    p = fma(r, _P_32[4], _P_32[3])
    p = fma(p, r, _P_32[2])
    p = fma(p, r, _P_32[1])
    p = fma(p, r, _P_32[0])
    return power_of_two(z), fma(p, r * r, r)


def _expm1_parts_64(y):
    """Return (2^n, p) of the module's formula for |y| <= 708 in float64."""
    z = fma(y, _LOG2E_64, _MAGIC_64)
    n = z - _MAGIC_64
    r = fma(-n, _LN2_LO_64, fma(-n, _LN2_HI_64, y))
    p = fma(r, _P_64[9], _P_64[8])
    p = fma(p, r, _P_64[7])
    p = fma(p, r, _P_64[6])
    p = fma(p, r, _P_64[5])
    p = fma(p, r, _P_64[4])
    p = fma(p, r, _P_64[3])
    p = fma(p, r, _P_64[2])
    p = fma(p, r, _P_64[1])
    p = fma(p, r, _P_64[0])
    return power_of_two(z), fma(p, r * r, r)


def _exp_parts_32(y):
    """Return 2^n and exp(r) for |y| <= 87 in float32."""
    z, r = _reduced_32(y)
    one = constant(y, 1.0)
    p = fma(r, _Q_32[3], _Q_32[2])
    p = fma(p, r, _Q_32[1])
    p = fma(p, r, _Q_32[0])
    return power_of_two(z), fma(fma(p, r, one), r, one)


def _exp_parts_64(y):
    """Return 2^n and exp(r) for |y| <= 708 in float64."""
    scale, p = _expm1_parts(y)
    return scale, p + constant(y, 1.0)


def _expm1_parts(y: Any) -> tuple[Any, Any]:
    return _expm1_parts_32(y) if y.dtype == np.float32 else _expm1_parts_64(y)


def _exp_parts(y: Any) -> tuple[Any, Any]:
    return _exp_parts_32(y) if y.dtype == np.float32 else _exp_parts_64(y)


@overload(_expm1_parts, jit_options={"forceinline": True})
def _expm1_parts_overload(y):
    single = getattr(y, "dtype", y) == types.float32
    return _expm1_parts_32 if single else _expm1_parts_64


@overload(_exp_parts, jit_options={"forceinline": True})
def _exp_parts_overload(y):
    single = getattr(y, "dtype", y) == types.float32
    return _exp_parts_32 if single else _exp_parts_64


@helper(inline=True)
def _clipped(x):
    bound = constant(x, 87.0, 708.0)
    return at_least(at_most(x, bound), -bound)


@helper(inline=True)
def exp(x):
    """Exponential of x, clamped to |x| <= 87 (float32) or 708 (float64)."""
    scale, p = _exp_parts(_clipped(x))
    return scale * p


@helper(inline=True)
def sigmoid(x):
    """Logistic sigmoid 1 / (1 + exp(-x)), in [0, 1].

    The error is at most 4 units in the last place, also in the negative tail down to x = -708
    in float64; in float32 down to x = -30, and at most 6 down to x = -87.
    """
    one = constant(x, 1.0)
    scale, p = _exp_parts(_clipped(-x))
    return quotient(one, fma(scale, p, one))


@helper(inline=True)
def tanh(x):
    """Hyperbolic tangent (exp(2x) - 1) / (exp(2x) + 1), within [-1, 1].

    The error is at most 4 units in the last place in float32 and float64.
    """
    one, two = constant(x, 1.0), constant(x, 2.0)
    limit = constant(x, 40.0)  # tanh(20) rounds to 1 in both precisions
    scale, p = _expm1_parts(at_most(two * magnitude(x), limit))
    expm1 = fma(scale, p, scale - one)  # no cancellation near 0: there scale is 1
    return copysign(quotient(expm1, expm1 + two), x)

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
    reciprocal,
)

_f32, _f64 = np.float32, np.float64

# Adding 1.5 * 2^(mantissa bits) rounds to an integer, which then stands in the low bits of the
# sum; with the exponent's bias added, too, shifted into the exponent's place it makes 2^n.
_MAGIC_32, _MAGIC_64 = _f32(1.5 * 2.0**23 + 127), _f64(1.5 * 2.0**52 + 1023)
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


# The same polynomials of -r, for exp(-y), and of r = 2s, for exp(2y): the factors are exact.
_Q_32_NEGATIVE = tuple(_f32(c * (-1) ** j) for j, c in enumerate(_Q_32))
_P_64_NEGATIVE = tuple(_f64(c * (-1) ** j) for j, c in enumerate(_P_64))
_P_32_DOUBLE = tuple(_f32(2 * c * 2**j) for j, c in enumerate(_P_32))
_P_64_DOUBLE = tuple(_f64(2 * c * 2**j) for j, c in enumerate(_P_64))


@helper(inline=True)
def _reduced_32(y, k):
    """Return z, whose low bits hold n, and y - n ln 2 / k, for exp(k y), |k y| <= 87."""
    z = fma(y, k * _LOG2E_32, _MAGIC_32)
    n = z - _MAGIC_32
    if HAS_FMA:
        return z, fma(n, -_LN2_32 / k, y)
    return z, fma(n, -_LN2_LO_32 / k, fma(n, -_LN2_HI_32 / k, y))


@helper(inline=True)
def _reduced_64(y, k):
    """The same in float64, for |k y| <= 708."""
    z = fma(y, k * _LOG2E_64, _MAGIC_64)
    n = z - _MAGIC_64
    return z, fma(n, -_LN2_LO_64 / k, fma(n, -_LN2_HI_64 / k, y))


@helper(inline=True)
def _polynomial_64(c, r):
    p = fma(r, c[9], c[8])
    p = fma(p, r, c[7])
    p = fma(p, r, c[6])
    p = fma(p, r, c[5])
    p = fma(p, r, c[4])
    p = fma(p, r, c[3])
    p = fma(p, r, c[2])
    p = fma(p, r, c[1])
    return fma(p, r, c[0])


@helper(inline=True)
def _polynomial_32(c, r):
    p = fma(r, c[3], c[2])
    p = fma(p, r, c[1])
    return fma(p, r, c[0])


def _exp_parts_32(y):
    """Return 2^n and exp(r) with exp(y) = 2^n exp(r), for |y| <= 87 in float32."""
    z, r = _reduced_32(y, _f32(1))
    one = constant(y, 1.0)
    return power_of_two(z), fma(fma(_polynomial_32(_Q_32, r), r, one), r, one)


def _exp_parts_64(y):
    """The same for |y| <= 708 in float64."""
    z, r = _reduced_64(y, _f64(1))
    return power_of_two(z), fma(_polynomial_64(_P_64, r), r * r, r) + constant(y, 1.0)


def _negative_parts_32(y):
    """Return 2^n and exp(-r) with exp(-y) = 2^n exp(-r), for |y| <= 87 in float32."""
    z, r = _reduced_32(y, _f32(-1))
    one, p = constant(y, 1.0), _polynomial_32(_Q_32_NEGATIVE, r)
    return power_of_two(z), fma(fma(p, r, -one), r, one)


def _negative_parts_64(y):
    """The same for |y| <= 708 in float64."""
    z, r = _reduced_64(y, _f64(-1))
    p = _polynomial_64(_P_64_NEGATIVE, r)
    return power_of_two(z), fma(p, r * r, -r) + constant(y, 1.0)


def _double_parts_32(y):
    """Return 2^n and p with exp(2y) = 2^n (1 + 2p), for |y| <= 20 in float32."""
    z, r = _reduced_32(y, _f32(2))
    p = fma(r, _P_32_DOUBLE[4], _P_32_DOUBLE[3])
    p = fma(p, r, _P_32_DOUBLE[2])
    p = fma(p, r, _P_32_DOUBLE[1])
    p = fma(p, r, _P_32_DOUBLE[0])
    return power_of_two(z), fma(p, r * r, r)


def _double_parts_64(y):
    """The same in float64."""
    z, r = _reduced_64(y, _f64(2))
    return power_of_two(z), fma(_polynomial_64(_P_64_DOUBLE, r), r * r, r)


def _exp_parts(y: Any) -> tuple[Any, Any]:
    return _exp_parts_32(y) if y.dtype == np.float32 else _exp_parts_64(y)


def _negative_parts(y: Any) -> tuple[Any, Any]:
    return _negative_parts_32(y) if y.dtype == np.float32 else _negative_parts_64(y)


def _double_parts(y: Any) -> tuple[Any, Any]:
    return _double_parts_32(y) if y.dtype == np.float32 else _double_parts_64(y)


def _overload(function, single, double):
    """Choose by the dtype of a number or vector in compiled code, too."""

    @overload(function, jit_options={"forceinline": True})
    def choose(y):
        return single if getattr(y, "dtype", y) == types.float32 else double


_overload(_exp_parts, _exp_parts_32, _exp_parts_64)
_overload(_negative_parts, _negative_parts_32, _negative_parts_64)
_overload(_double_parts, _double_parts_32, _double_parts_64)


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
    scale, p = _negative_parts(_clipped(x))
    return reciprocal(fma(scale, p, one))


@helper(inline=True)
def tanh(x):
    """Hyperbolic tangent e / (e + 1) with e = (exp(2x) - 1) / 2, within [-1, 1].

    The error is at most 4 units in the last place in float32 and float64.
    """
    one, half = constant(x, 1.0), constant(x, 0.5)
    limit = constant(x, 20.0)  # whose tanh rounds to 1 in both precisions
    scale, p = _double_parts(at_most(magnitude(x), limit))
    e = fma(scale, p, fma(scale, half, -half))  # no cancellation near 0: there scale is 1
    return copysign(quotient(e, e + one), x)

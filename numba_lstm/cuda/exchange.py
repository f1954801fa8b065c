"""Sums that the threads of a warp make together, each keeping what is its own."""

from __future__ import annotations

import functools

from numba_lstm.cuda.device import cuda, device_function

_ALL = 0xFFFFFFFF  # lanes of a warp


@device_function
def _fold(a, b, bit, lanes):
    """Sum of two threads' a, or where ``bit`` is set of their b."""
    own = b if bit else a
    other = a if bit else b
    return own + cuda.shfl_xor_sync(_ALL, other, lanes)


@device_function
def _own_of_four(a, b, c, d, s, near, far):
    """Sum over four threads of a, b, c or d, by the thread's number s among them."""
    odd, late = (s & 1) != 0, (s & 2) != 0
    return _fold(_fold(a, b, odd, near), _fold(c, d, odd, near), late, far)


@device_function
def _own_of_two(a, b, s, near, far):
    one = _fold(a, b, (s & 1) != 0, near)
    return one + cuda.shfl_xor_sync(_ALL, one, far)


@device_function
def _sum_of_one(a, near, far):
    one = a + cuda.shfl_xor_sync(_ALL, a, near)
    return one + cuda.shfl_xor_sync(_ALL, one, far)


@functools.cache
def make_collect(NB):
    """Make ``collect(a, o, s)``: sum o of sequence ``s % NB`` over the four threads of a unit."""

    @device_function
    def collect(a, o, s):
        if NB == 4:
            return _own_of_four(a[4 * o], a[4 * o + 1], a[4 * o + 2], a[4 * o + 3], s, 1, 2)
        if NB == 2:
            return _own_of_two(a[2 * o], a[2 * o + 1], s, 1, 2)
        return _sum_of_one(a[o], 1, 2)

    return collect


@functools.cache
def make_collect_unit(NB):
    """Make ``collect(a, lane)``: the sum of a lane's unit and sequence over sixteen lanes."""

    @device_function
    def unit(a, m, lane):
        return _own_of_four(a[m], a[NB + m], a[2 * NB + m], a[3 * NB + m], lane, 1, 2)

    @device_function
    def collect(a, lane):
        s, d = lane >> 2, unit(a, 0, lane)
        if NB == 4:
            return _own_of_four(d, unit(a, 1, lane), unit(a, 2, lane), unit(a, 3, lane), s, 4, 8)
        if NB == 2:
            return _own_of_two(d, unit(a, 1, lane), s, 4, 8)
        return _sum_of_one(d, 4, 8)

    return collect

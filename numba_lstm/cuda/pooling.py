"""From the last layer's outputs to one row for each sequence, and back.

    last         what each direction ends with, merged; with a residual connection also the
                 inputs of the steps that they end with
    mean, max    over a sequence's own steps
    attention    u_t = tanh(h_t W_a + b_a),   alpha = softmax_t(u_t v),   sum_t alpha_t h_t

as in cpu/pooling.py. A sequence without steps gets zeros, or what its directions began with.
``rows`` are the outputs h_t of all steps (S, width), ``pooled`` (M B, width) what the head
sees. Attention has matrix products between its kernels (products.py), in this order:

    forward     u = rows W_a | attend | average(pooled, rows, alpha, first)
    backward    attend_backward | d_rows = d_u W_a^T | average_backward, which adds | and for
                the weights dW_a = rows^T d_u, db_a = column sums of d_u, dv = d_score^T u
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from numba_lstm.activations import tanh
from numba_lstm.cuda.blocks import (
    THREADS,
    matrix_type,
    or_nothing,
    over_columns,
    over_steps,
    pair,
    vector_type,
    warp_sum,
)
from numba_lstm.cuda.device import cuda, jit
from numba_lstm.cuda.rows import merged
from numba_lstm.parameters import Layout

# Units, and parts of a sequence, that a block pools; rows of attention that a block takes.
_UNITS, _PARTS, _WARPS = 32, 8, 4


def ends_of(layout: Layout) -> tuple[int, int]:
    """Columns of the last layer's outputs that go with the last step, and with the first.

    The former end, and the latter begin, with what is returned; where directions are
    merged all columns go with both steps, half of each.
    """
    width = layout.widths[-1]
    if layout.direction != "both":
        return (width, width) if layout.direction == "forward" else (0, 0)
    return (width // 2, width // 2) if layout.merge == "concat" else (width, 0)


def last(
    pooled: Any,
    ends: tuple,
    x: Any | None,
    first: Any,
    share: float,
    columns: tuple[int, int],
    stream: Any = 0,
) -> None:
    """Pool by what the directions end with.

    Parameters
    ----------
    pooled : device array of shape (M B, width)
        Receives it. With one direction and no residual connection it is that direction's
        final state itself, and nothing need be called.
    ends : tuple of device arrays of shape (M B, P)
        Final hidden state of each direction.
    x : device array of shape (S, width) or None
        The layer's inputs without their mask, if it has a residual connection.
    first : device array of int64 of shape (M B + 1,)
        The row of ``x`` that each sequence begins with.
    share : float
        What goes of each direction into an output: see :func:`numba_lstm.cuda.rows.share_of`.
    columns : tuple of int
        What :func:`ends_of` returns.
    stream : stream
        Where to launch.
    """
    grid, block = over_columns(*pooled.shape)
    end, end_2 = pair(ends, pooled)
    share, x = pooled.dtype.type(share), or_nothing(x, pooled)
    _last[grid, block, stream](pooled, end, end_2, x, first, share, *columns)


def last_backward(d_pooled: Any, d_ends: tuple, share: float, stream: Any = 0) -> None:
    """Gradient of what the directions end with, from that of ``pooled``: see :func:`last`."""
    grid, block = over_columns(*d_pooled.shape)
    d_end, d_end_2 = pair(d_ends, d_pooled)
    share = d_pooled.dtype.type(share)
    _last_backward[grid, block, stream](d_pooled, d_end, d_end_2, share)


def add_last_backward(
    d_pooled: Any, d_x: Any, first: Any, columns: tuple[int, int], stream: Any = 0
) -> None:
    """Add what reaches a residual connection's inputs in :func:`last` to their gradient d_x.

    After :func:`numba_lstm.cuda.rows.join_backward` has written the rest of it.
    """
    grid, block = over_columns(*d_pooled.shape)
    _add_last_backward[grid, block, stream](d_pooled, d_x, first, *columns)


def average(pooled: Any, rows: Any, alpha: Any | None, first: Any, stream: Any = 0) -> None:
    """Pool by the mean of a sequence's rows, or by their sum with weights ``alpha`` (S, 1)."""
    grid = pooled.shape[0], -(-pooled.shape[1] // _UNITS)
    alpha = or_nothing(alpha, pooled)
    _average[grid, (_UNITS, _PARTS), stream](pooled, rows, alpha, first)


def average_backward(
    d_rows: Any, d_pooled: Any, alpha: Any | None, first: Any, stream: Any = 0
) -> None:
    """Gradient of the rows of :func:`average`; with ``alpha`` it is added to ``d_rows``."""
    grid, block = over_steps(first, d_rows, d_pooled.shape[1])
    alpha = or_nothing(alpha, d_pooled)
    _average_backward[grid, block, stream](d_rows, d_pooled, alpha, first)


def greatest(pooled: Any, latest: Any, rows: Any, first: Any, stream: Any = 0) -> None:
    """Pool by the maximum; ``latest`` (M B, width), int32, receives its step, of equals the first.

    A sequence without steps gets -1 there.
    """
    grid = pooled.shape[0], -(-pooled.shape[1] // _UNITS)
    _greatest[grid, (_UNITS, _PARTS), stream](pooled, latest, rows, first)


def greatest_backward(
    d_rows: Any, d_pooled: Any, latest: Any, first: Any, stream: Any = 0
) -> None:
    """Gradient of the rows of :func:`greatest`."""
    grid, block = over_steps(first, d_rows, d_pooled.shape[1])
    _greatest_backward[grid, block, stream](d_rows, d_pooled, latest, first)


def attend(
    u: Any, alpha: Any, theta: Any, b_at: int, v_at: int, first: Any, B: int, stream: Any = 0
) -> None:
    """Attention weights of all steps.

    Parameters
    ----------
    u : device array of shape (S, width)
        Products rows W_a; becomes u of the module's formula.
    alpha : device array of shape (S, 1)
        Receives the weights.
    theta : device array of shape (M, size)
        All weights of all models.
    b_at, v_at : int
        Where b_a and v_a begin in a row of ``theta``.
    first : device array of int64 of shape (M B + 1,)
        The row that each sequence begins with.
    B : int
        Sequences of a model.
    stream : stream
        Where to launch.
    """
    (n, parts), _ = over_steps(first, u, _UNITS)
    _score[(n, parts), (32, _WARPS), stream](u, alpha, theta, b_at, v_at, first, B)
    _softmax[n, 32, stream](alpha, first)


def attend_backward(
    d_u: Any,
    d_score: Any,
    d_pooled: Any,
    pooled: Any,
    rows: Any,
    u: Any,
    alpha: Any,
    theta: Any,
    v_at: int,
    first: Any,
    B: int,
    stream: Any = 0,
) -> None:
    """Gradient by way of alpha, of the products in ``d_u`` and of the scores in ``d_score``.

    ``d_u`` is (S, width) and ``d_score`` (S, 1); the others are as for :func:`attend` and
    :func:`average`.
    """
    grid, _ = over_steps(first, u, _UNITS)
    _attend_backward[grid, (32, _WARPS), stream](
        d_u, d_score, d_pooled, pooled, rows, u, alpha, theta, v_at, first, B
    )


@jit
def _last(pooled, end, end_2, x, first, share, onward, backward):
    q = cuda.blockIdx.x
    begin, stop = first[q], first[q + 1]
    one = type(share)(1)
    half = type(share)(0.5) if onward > backward else one
    for j in range(cuda.threadIdx.x, pooled.shape[1], cuda.blockDim.x):
        P = end.shape[1]
        if share == 0 and j >= P:
            value = end_2[q, j - P]
        else:
            value = merged(end, end_2, q, j, 0, share)
        if x.shape[0] > 0 and stop > begin:
            if j < onward:
                value += half * x[stop - 1, j]
            if j >= backward:
                value += half * x[begin, j]
        pooled[q, j] = value


@jit
def _last_backward(d_pooled, d_end, d_end_2, share):
    q, P = cuda.blockIdx.x, d_end.shape[1]
    for j in range(cuda.threadIdx.x, d_pooled.shape[1], cuda.blockDim.x):
        d = d_pooled[q, j]
        if share > 0:
            d_end[q, j] = share * d
            d_end_2[q, j] = share * d
        elif j < P:
            d_end[q, j] = d
        else:
            d_end_2[q, j - P] = d


@jit
def _add_last_backward(d_pooled, d_x, first, onward, backward):
    q = cuda.blockIdx.x
    begin, stop = first[q], first[q + 1]
    for j in range(cuda.threadIdx.x, d_pooled.shape[1], cuda.blockDim.x):
        d = d_pooled[q, j]
        if onward > backward:
            d *= type(d)(0.5)
        if stop > begin:
            if j < onward:
                d_x[stop - 1, j] += d
            if j >= backward:
                d_x[begin, j] += d


@jit
def _average(pooled, rows, alpha, first):
    q, part = cuda.blockIdx.x, cuda.threadIdx.y
    j = cuda.blockIdx.y * _UNITS + cuda.threadIdx.x
    begin, stop = first[q], first[q + 1]
    sums = cuda.shared.array((_PARTS, _UNITS), rows.dtype)
    T = type(pooled[0, 0])
    total, share = T(0), T(1)
    if alpha.shape[0] == 0 and stop > begin:
        share = T(1) / T(stop - begin)
    if j < pooled.shape[1]:
        for r in range(begin + part, stop, _PARTS):
            if alpha.shape[0] > 0:
                share = alpha[r, 0]
            total += share * rows[r, j]
    sums[part, cuda.threadIdx.x] = total
    cuda.syncthreads()
    if part == 0 and j < pooled.shape[1]:
        for k in range(1, _PARTS):
            total += sums[k, cuda.threadIdx.x]
        pooled[q, j] = total


@jit
def _average_backward(d_rows, d_pooled, alpha, first):
    q, T = cuda.blockIdx.x, type(d_pooled[0, 0])
    begin, stop = first[q], first[q + 1]
    step = cuda.gridDim.y * cuda.blockDim.y
    for r in range(begin + cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, stop, step):
        for j in range(cuda.threadIdx.x, d_pooled.shape[1], cuda.blockDim.x):
            if alpha.shape[0] > 0:
                d_rows[r, j] += alpha[r, 0] * d_pooled[q, j]
            else:
                d_rows[r, j] = T(1) / T(stop - begin) * d_pooled[q, j]


@jit
def _greatest(pooled, latest, rows, first):
    q, part, lane = cuda.blockIdx.x, cuda.threadIdx.y, cuda.threadIdx.x
    j = cuda.blockIdx.y * _UNITS + lane
    begin, stop = first[q], first[q + 1]
    tops = cuda.shared.array((_PARTS, _UNITS), rows.dtype)
    steps = cuda.shared.array((_PARTS, _UNITS), types.int32)
    top, step = type(pooled[0, 0])(-math.inf), np.int32(-1)
    if j < pooled.shape[1]:
        for r in range(begin + part, stop, _PARTS):
            # As on the CPU, a NaN in the first step stays, and others are passed over.
            if r == begin or rows[r, j] > top:
                top, step = rows[r, j], np.int32(r - begin)
    tops[part, lane], steps[part, lane] = top, step
    cuda.syncthreads()
    if part == 0 and j < pooled.shape[1]:
        for k in range(1, _PARTS):
            other, at = tops[k, lane], steps[k, lane]
            if at >= 0 and (other > top or (other == top and at < step)):
                top, step = other, at
        pooled[q, j] = top if stop > begin else type(top)(0)
        latest[q, j] = step


@jit
def _greatest_backward(d_rows, d_pooled, latest, first):
    q = cuda.blockIdx.x
    begin, stop = first[q], first[q + 1]
    step = cuda.gridDim.y * cuda.blockDim.y
    for r in range(begin + cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, stop, step):
        for j in range(cuda.threadIdx.x, d_pooled.shape[1], cuda.blockDim.x):
            d = d_pooled[q, j]
            d_rows[r, j] = d if latest[q, j] == r - begin else type(d)(0)


@jit
def _score(u, alpha, theta, b_at, v_at, first, B):
    q, lane = cuda.blockIdx.x, cuda.threadIdx.x
    m, stop = q // B, first[q + 1]
    # A warp for a row; all warps of a block come to the sums.
    for r_0 in range(first[q] + cuda.blockIdx.y * _WARPS, stop, cuda.gridDim.y * _WARPS):
        r = r_0 + cuda.threadIdx.y
        score = type(theta[0, 0])(0)
        if r < stop:
            for j in range(lane, u.shape[1], 32):
                value = tanh(u[r, j] + theta[m, b_at + j])
                u[r, j] = value
                score += value * theta[m, v_at + j]
        score = warp_sum(score)
        if r < stop and lane == 0:
            alpha[r, 0] = score


@jit
def _softmax(alpha, first):
    q, lane = cuda.blockIdx.x, cuda.threadIdx.x
    begin, stop = first[q], first[q + 1]
    T = type(alpha[0, 0])
    top, total = T(-math.inf), T(0)
    for r in range(begin + lane, stop, 32):
        if alpha[r, 0] > top:
            top = alpha[r, 0]
    for k in range(5):
        other = cuda.shfl_xor_sync(0xFFFFFFFF, top, 16 >> k)
        if other > top:
            top = other
    for r in range(begin + lane, stop, 32):
        share = math.exp(alpha[r, 0] - top)
        alpha[r, 0] = share
        total += share
    total = warp_sum(total)
    for r in range(begin + lane, stop, 32):
        alpha[r, 0] /= total


@jit
def _attend_backward(d_u, d_score, d_pooled, pooled, rows, u, alpha, theta, v_at, first, B):
    q, lane = cuda.blockIdx.x, cuda.threadIdx.x
    m, stop = q // B, first[q + 1]
    one = type(theta[0, 0])(1)
    for r_0 in range(first[q] + cuda.blockIdx.y * _WARPS, stop, cuda.gridDim.y * _WARPS):
        r = r_0 + cuda.threadIdx.y
        d = one - one
        if r < stop:  # of all alphas, whose sum is 1, together
            for j in range(lane, u.shape[1], 32):
                d += d_pooled[q, j] * (rows[r, j] - pooled[q, j])
        d = warp_sum(d)
        if r < stop:
            d *= alpha[r, 0]
            for j in range(lane, u.shape[1], 32):
                d_u[r, j] = d * theta[m, v_at + j] * (one - u[r, j] * u[r, j])
            if lane == 0:
                d_score[r, 0] = d


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of every kernel, for every dtype."""
    cases: list[tuple] = []
    i, numbers, steps = types.int64, vector_type(types.int64), matrix_type(types.int32)
    for T in (types.float32, types.float64):
        A = matrix_type(T)
        cases += [
            (f"last {T}", _last, (A, A, A, A, numbers, T, i, i), THREADS),
            (f"last_backward {T}", _last_backward, (A, A, A, T), THREADS),
            (f"add_last_backward {T}", _add_last_backward, (A, A, numbers, i, i), THREADS),
            (f"average {T}", _average, (A, A, A, numbers), _UNITS * _PARTS),
            (f"average_backward {T}", _average_backward, (A, A, A, numbers), THREADS),
            (f"greatest {T}", _greatest, (A, steps, A, numbers), _UNITS * _PARTS),
            (f"greatest_backward {T}", _greatest_backward, (A, A, steps, numbers), THREADS),
            (f"score {T}", _score, (A, A, A, i, i, numbers, i), 32 * _WARPS),
            (f"softmax {T}", _softmax, (A, numbers), 32),
            (
                *(f"attend_backward {T}", _attend_backward),
                *((*[A] * 8, i, numbers, i), 32 * _WARPS),
            ),
        ]
    return [(name, kernel.py_func, *rest) for name, kernel, *rest in cases]

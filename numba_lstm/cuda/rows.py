"""What layers read and write at every time step, row by row, around the cells.

A layer has one or two directions, each with a buffer xh of its own. Of layer l there are,
with S rows, one for each time step of the batch,

    outs    h_t of its directions side by side (S, D P), as the cells wrote them
    out     its outputs (S, width): the directions merged, its inputs added where it has a
            residual connection, and no mask: what the layer above, pooling or head get
    xh      of the layer above, whose first columns are ``out`` times a mask

Without merging and residual ``out`` is ``outs``: then None is passed for ``out``, and
nothing is copied. ``share`` is what of each direction goes into an output: 0 where they stay
side by side, or there is one; see :func:`share_of`. Gradients have the same shapes and the
names d_outs, d_out and d_xh:

    forward     gather | cells of layer 0 | join | cells of layer 1 | join | ... | join
    backward    join_backward | cells | join_backward | ... | join_backward | cells of layer 0

A block works on steps of one sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from numba_lstm.cpu.gates import standardised
from numba_lstm.cuda.blocks import (
    THREADS,
    matrix_type,
    or_nothing,
    over_steps,
    pair,
    vector_type,
)
from numba_lstm.cuda.device import cuda, jit
from numba_lstm.parameters import Layout


def gather(
    xh: Any,
    values: Any,
    starts: Any,
    first: Any,
    mean: Any,
    inverse_scale: Any,
    mask: Any | None,
    bias: bool,
    B: int,
    stream: Any = 0,
) -> None:
    """Write standardised inputs, times a mask, and the 1 of the biases into rows of xh.

    Parameters
    ----------
    xh : device array of shape (S, V)
        Receives them, in its first F + bias columns.
    values : device array of shape (N, F)
        Inputs of all sequences, float32 or float64.
    starts : device array of int64 of shape (M B,)
        The row of ``values`` that each sequence begins with.
    first : device array of int64 of shape (M B + 1,)
        The row of ``xh`` that each sequence begins with.
    mean, inverse_scale : device array of float64 of shape (M, F)
        Standardisation of each model's inputs, computed in float64.
    mask : device array of shape (M B, F) or None
        What is dropped.
    bias : bool
        Whether the cells have biases.
    B : int
        Sequences of a model.
    stream : stream
        Where to launch.
    """
    columns = values.shape[1] + bias
    grid, block = over_steps(first, xh, columns)
    mask = or_nothing(mask, xh)
    _gather[grid, block, stream](
        xh, values, starts, first, mean, inverse_scale, mask, int(bias), B
    )


def join(
    out: Any | None,
    outs: Any,
    x: Any | None,
    xhs: tuple,
    mask: Any | None,
    first: Any,
    share: float,
    bias: bool,
    stream: Any = 0,
) -> None:
    """Make a layer's outputs of those of its cells, and of these the next layer's inputs.

    Parameters
    ----------
    out : device array of shape (S, width) or None
        Receives the outputs; may be ``x`` where that is needed no more.
    outs : device array of shape (S, D P)
        What the cells wrote.
    x : device array of shape (S, width) or None
        The layer's inputs without their mask, if it has a residual connection.
    xhs : tuple of device arrays of shape (S, V)
        The next layer's, one for each of its directions; none behind the last layer.
    mask : device array of shape (M B, width) or None
        What is dropped between the layers.
    first, bias, stream
        As for :func:`gather`.
    share : float
        What :func:`share_of` returns.
    """
    width = outs.shape[1] // 2 if share else outs.shape[1]
    grid, block = over_steps(first, outs, width + bias)
    xh, xh_2 = pair(xhs, outs)
    out, x, mask = (or_nothing(array, outs) for array in (out, x, mask))
    _join[grid, block, stream](
        out, outs, x, xh, xh_2, mask, first, width, outs.dtype.type(share), int(bias)
    )


def join_backward(
    d_out: Any | None,
    d_outs: Any | None,
    d_xhs: tuple,
    mask: Any | None,
    d_above: Any | None,
    first: Any,
    width: int,
    share: float,
    stream: Any = 0,
) -> None:
    """Gradient of a layer's outputs, and of its directions', from what they went into.

    Parameters
    ----------
    d_out : device array of shape (S, width) or None
        Receives the gradient of the outputs, which a residual connection takes on to the
        layer below; may be ``d_above``.
    d_outs : device array of shape (S, D P) or None
        Receives that of what the cells wrote. With ``share`` 0 it is the same as ``d_out``:
        one of them is enough.
    d_xhs : tuple of device arrays of shape (S, V)
        Gradients of the next layer's xh, of which the first columns are read, one for each of
        its directions or one in all; none behind the last layer.
    mask : device array of shape (M B, width) or None
        What was dropped between the layers.
    d_above : device array of shape (S, width) or None
        Gradient of the next layer's outputs, if that has a residual connection; of the last
        layer's own, as head or pooling wrote it.
    first, share, stream
        As for :func:`join`.
    width : int
        Outputs of the layer.
    """
    like = next(array for array in (d_above, *d_xhs) if array is not None)
    grid, block = over_steps(first, like, width)
    d_xh, d_xh_2 = pair(d_xhs, like)
    d_out, d_outs, mask, d_above = (
        or_nothing(array, like) for array in (d_out, d_outs, mask, d_above)
    )
    _join_backward[grid, block, stream](
        d_out, d_outs, d_xh, d_xh_2, mask, d_above, first, width, like.dtype.type(share)
    )


def share_of(layout: Layout) -> float:
    """Return what of each direction goes into a layer's outputs: 1, 1/2, or 0 for no merging."""
    if layout.direction != "both":
        return 0.0
    return {"concat": 0.0, "sum": 1.0, "mean": 0.5}[layout.merge]


@cuda.jit(device=True)
def merged(A, B, row, j, column, share):
    """Output j of two directions, the second's in B from ``column`` on; or of A alone."""
    if share == 0:
        return A[row, j]
    return share * A[row, j] + share * B[row, column + j]


@jit
def _gather(xh, values, starts, first, mean, inverse_scale, mask, bias, B):
    q = cuda.blockIdx.x
    m, row, F = q // B, first[q], mean.shape[1]
    T, n_rows = type(xh[0, 0]), first[q + 1] - row
    step = cuda.gridDim.y * cuda.blockDim.y
    for t in range(cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y, n_rows, step):
        for f in range(cuda.threadIdx.x, F + bias, cuda.blockDim.x):
            value = T(1)
            if f < F:
                x = np.float64(values[starts[q] + t, f])
                value = T(standardised(x, mean[m, f], inverse_scale[m, f]))
                if mask.shape[0] > 0:
                    value *= mask[q, f]
            xh[row + t, f] = value


@jit
def _join(out, outs, x, xh, xh_2, mask, first, width, share, bias):
    q, one = cuda.blockIdx.x, type(share)(1)
    step = cuda.gridDim.y * cuda.blockDim.y
    begin = first[q] + cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y
    for r in range(begin, first[q + 1], step):
        for j in range(cuda.threadIdx.x, width + bias, cuda.blockDim.x):
            value = one
            if j < width:
                value = merged(outs, outs, r, j, width, share)
                if x.shape[0] > 0:
                    value += x[r, j]
                if out.shape[0] > 0:
                    out[r, j] = value
                if mask.shape[0] > 0:
                    value *= mask[q, j]
            if xh.shape[0] > 0:
                xh[r, j] = value
            if xh_2.shape[0] > 0:
                xh_2[r, j] = value


@jit
def _join_backward(d_out, d_outs, d_xh, d_xh_2, mask, d_above, first, width, share):
    q, zero = cuda.blockIdx.x, type(share)(0)
    step = cuda.gridDim.y * cuda.blockDim.y
    begin = first[q] + cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y
    for r in range(begin, first[q + 1], step):
        for j in range(cuda.threadIdx.x, width, cuda.blockDim.x):
            d = zero
            if d_xh.shape[0] > 0:
                d += d_xh[r, j]
            if d_xh_2.shape[0] > 0:
                d += d_xh_2[r, j]
            if mask.shape[0] > 0:
                d *= mask[q, j]
            if d_above.shape[0] > 0:
                d += d_above[r, j]
            if d_out.shape[0] > 0:
                d_out[r, j] = d
            if d_outs.shape[0] > 0:
                if share == zero:
                    d_outs[r, j] = d
                else:
                    d_outs[r, j] = share * d
                    d_outs[r, width + j] = share * d


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of every kernel, for every dtype."""
    cases: list[tuple] = []
    i, numbers, f64 = types.int64, vector_type(types.int64), matrix_type(types.float64)
    for T in (types.float32, types.float64):
        A = matrix_type(T)
        for of in (types.float32, types.float64):
            signature = A, matrix_type(of), numbers, numbers, f64, f64, A, i, i
            cases.append((f"gather {of} {T}", _gather, signature))
        six = A, A, A, A, A, A
        cases.append((f"join {T}", _join, (*six, numbers, i, T, i)))
        cases.append((f"join_backward {T}", _join_backward, (*six, numbers, i, T)))
    return [(name, kernel.py_func, signature, THREADS) for name, kernel, signature in cases]

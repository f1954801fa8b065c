"""The head around its matrix products: biases, activations, and the losses.

Rows of the head are the sequences, or with outputs at every step the steps: model m's are
bounds[m] to bounds[m+1]-1, of which ``most`` is the largest number. The products are those of
products.py, in this order; without a hidden layer h is what was pooled:

    forward     h = pooled W_1 | activate | out = h W_y^T | activate
    loss        losses | add_losses
    backward    dW_y = d_out^T h, db_y = column sums of d_out, d_h = d_out W_y |
                activate_backward | dW_1 = pooled^T d_h, db_1 = column sums of d_h,
                d_pooled = d_h W_1^T
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types

from numba_lstm.activations import tanh
from numba_lstm.cuda.blocks import THREADS, block_sum, matrix_type, over_rows, vector_type
from numba_lstm.cuda.device import cuda, jit
from numba_lstm.losses import loss_rows

# What comes behind a bias.
NOTHING, RELU, TANH = range(3)


def activate(
    rows: Any, theta: Any, at: int, bounds: Any, most: int, activation: int, stream: Any = 0
) -> None:
    """Add biases to rows, and apply an activation, in place.

    Parameters
    ----------
    rows : device array of shape (Q, width)
        Products with the weights; become outputs, or units of the hidden layer.
    theta : device array of shape (M, size)
        All weights of all models.
    at : int
        Where the biases begin in a row of ``theta``.
    bounds : device array of int64 of shape (M + 1,)
        The row that each model begins with.
    most : int
        Rows of a model, at most.
    activation : int
        NOTHING, RELU or TANH.
    stream : stream
        Where to launch.
    """
    grid, block = over_rows(bounds, most, rows.shape[1])
    _activate[grid, block, stream](rows, theta, at, bounds, activation)


def activate_backward(
    d_rows: Any, rows: Any, bounds: Any, most: int, activation: int, stream: Any = 0
) -> None:
    """Turn the gradient of :func:`activate`'s result ``rows`` into that of its argument."""
    grid, block = over_rows(bounds, most, rows.shape[1])
    _activate_backward[grid, block, stream](d_rows, rows, bounds, activation)


def losses(
    kind: int,
    parameter: float,
    out: Any,
    y: Any,
    weight: Any,
    d_out: Any,
    row_loss: Any,
    partial: Any,
    bounds: Any,
    most: int,
    stream: Any = 0,
) -> None:
    """Losses of all rows, and their gradients.

    Parameters
    ----------
    kind, parameter, out, y, weight, d_out, row_loss
        As for :func:`numba_lstm.losses.loss_rows`, on the device.
    partial : device array of float64 of shape (M, n_partial(most)) or wider
        Receives sums over a block's rows, for :func:`add_losses`.
    bounds, most, stream
        As for :func:`activate`.
    """
    grid = n_partial(most), bounds.shape[0] - 1
    _losses[grid, THREADS, stream](
        *(kind, out.dtype.type(parameter), out, y, weight, d_out, row_loss, partial, bounds)
    )


def add_losses(
    loss: Any, partial: Any, most: int, total: Any, share: float, stream: Any = 0
) -> None:
    """Sum each model's losses into ``loss`` (M,), and add ``share`` of it to ``total`` (M,).

    Both are float64 and on the device: nobody has to wait for the losses of a batch.
    """
    _add_losses[loss.shape[0], THREADS, stream](
        loss, partial, n_partial(most), total, float(share)
    )


def n_partial(most: int) -> int:
    """How many sums :func:`losses` leaves of each model; none depends on how many there are."""
    return max(-(-most // THREADS), 1)


@jit
def _activate(rows, theta, at, bounds, activation):
    m = cuda.blockIdx.y
    step = cuda.gridDim.x * cuda.blockDim.y
    begin = bounds[m] + cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    for r in range(begin, bounds[m + 1], step):
        for j in range(cuda.threadIdx.x, rows.shape[1], cuda.blockDim.x):
            a = rows[r, j] + theta[m, at + j]
            if activation == TANH:
                a = tanh(a)
            elif activation == RELU and a < type(a)(0):  # a NaN stays
                a = type(a)(0)
            rows[r, j] = a


@jit
def _activate_backward(d_rows, rows, bounds, activation):
    m = cuda.blockIdx.y
    step = cuda.gridDim.x * cuda.blockDim.y
    begin = bounds[m] + cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    for r in range(begin, bounds[m + 1], step):
        for j in range(cuda.threadIdx.x, rows.shape[1], cuda.blockDim.x):
            h = rows[r, j]
            slope = type(h)(1)
            if activation == TANH:
                slope -= h * h
            elif activation == RELU and not h > type(h)(0):
                slope = type(h)(0)
            d_rows[r, j] *= slope


@jit
def _losses(kind, parameter, out, y, weight, d_out, row_loss, partial, bounds):
    part, m = cuda.blockIdx.x, cuda.blockIdx.y
    scratch = cuda.shared.array(THREADS, types.float64)
    row, found = bounds[m] + part * THREADS + cuda.threadIdx.x, 0.0
    if row < bounds[m + 1]:
        loss_rows(kind, parameter, out, y, weight, d_out, row_loss, row, row + 1)
        found += row_loss[row]
    found = block_sum(found, scratch)
    if cuda.threadIdx.x == 0:
        partial[m, part] = found


@jit
def _add_losses(loss, partial, n, total, share):
    m, found = cuda.blockIdx.x, 0.0
    scratch = cuda.shared.array(THREADS, types.float64)
    for k in range(cuda.threadIdx.x, n, THREADS):
        found += partial[m, k]
    found = block_sum(found, scratch)
    if cuda.threadIdx.x == 0:
        loss[m] = found
        total[m] += share * found


def compile_cases() -> list[tuple[str, Callable, tuple, int]]:
    """Name, function, signature and threads of a block of every kernel, for every dtype."""
    cases: list[tuple] = []
    i, numbers, f64 = types.int64, vector_type(types.int64), types.float64
    sums = matrix_type(f64), vector_type(f64)
    for T in (types.float32, types.float64):
        A, v = matrix_type(T), vector_type(T)
        cases += [
            (f"activate {T}", _activate, (A, A, i, numbers, i)),
            (f"activate_backward {T}", _activate_backward, (A, A, numbers, i)),
            (f"losses {T}", _losses, (i, T, A, A, v, A, v, sums[0], numbers)),
        ]
    cases.append(("add_losses", _add_losses, (sums[1], sums[0], i, sums[1], f64)))
    return [(name, kernel.py_func, signature, THREADS) for name, kernel, signature in cases]

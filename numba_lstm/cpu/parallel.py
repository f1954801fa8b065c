"""The batch drivers: ``prange`` over blocks of sequences and over columns.

The blocks follow from the batch alone, never from the number of threads, and no
two threads add to the same number: results are the same, bit for bit, for any
number of threads. Each driver exists twice, compiled parallel and serial, from one
source; :func:`run` chooses.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from typing import Any

import numba
from numba import prange

from numba_lstm._jit import kernel
from numba_lstm._process import in_forked_child
from numba_lstm.cpu.layer import (
    backward_block,
    forward_block,
    head_forward,
    head_gradient,
    predict_block,
    weight_gradient,
)
from numba_lstm.cpu.matmul import pack, panel_width
from numba_lstm.losses import loss_rows


def _predict(weights, work, starts, block_rows, per_step):
    """Forward pass of a batch into ``work.out``, and nothing else."""
    pack(weights.W_x, work.packed_W_x)
    pack(weights.W_h, work.packed_W_h)
    pack(weights.W_y.T, work.packed_W_yT)
    B = starts.size - 1
    for block in prange((B + block_rows - 1) // block_rows):
        s = block * block_rows
        predict_block(work, weights.b_y, starts, s, min(s + block_rows, B), per_step)


def _states(weights, work, starts, block_rows):
    """Forward pass of a batch that leaves the states of every step in ``work``."""
    pack(weights.W_x, work.packed_W_x)
    pack(weights.W_h, work.packed_W_h)
    B = starts.size - 1
    for block in prange((B + block_rows - 1) // block_rows):
        s = block * block_rows
        forward_block(work, starts, s, min(s + block_rows, B), True)


def _loss_and_grad(
    weights, grad, work, starts, block_rows, per_step, y, sample_weight, kind, parameter
):
    """Loss of a batch and its gradient: three passes over it, two parallel loops."""
    pack(weights.W_x, work.packed_W_x)
    pack(weights.W_h, work.packed_W_h)
    pack(weights.W_y.T, work.packed_W_yT)
    pack(weights.W_h.T, work.packed_W_hT)
    B = starts.size - 1
    n_blocks = (B + block_rows - 1) // block_rows
    # A store to a named tuple's field inside prange is dropped as dead (Numba 0.68).
    block_loss = work.block_loss
    for block in prange(n_blocks):
        s = block * block_rows
        e = min(s + block_rows, B)
        first, last = (starts[s], starts[e]) if per_step else (s, e)
        forward_block(work, starts, s, e, per_step)
        head_forward(work, weights.b_y, first, last)
        block_loss[block] = loss_rows(
            kind, parameter, work.out, y, sample_weight, work.d_out, first, last
        )
        backward_block(work, weights.W_y, starts, s, e, per_step)
    G = grad.W_h.shape[1]
    width = 2 * panel_width(grad.W_h.itemsize)
    n_panels = (G + width - 1) // width
    for panel in prange(n_panels + 1):
        if panel == n_panels:
            head_gradient(work, grad.W_y, grad.b_y, starts[B] if per_step else B)
        else:
            first = panel * width
            last = min(first + width, G)
            scratch = work.scratch[panel]
            weight_gradient(work, grad.W_x, grad.W_h, starts, block_rows, first, last, scratch)
    loss = 0.0
    for block in range(n_blocks):
        loss += block_loss[block]
    return loss


def _both(driver: Callable) -> tuple[Callable, Callable]:
    """Compile a driver parallel and serial.

    Numba's cache tells functions apart by name, not by options: the serial one is a
    copy under a name of its own.
    """
    name = driver.__name__ + "_serial"
    copy = types.FunctionType(driver.__code__, driver.__globals__, name)
    copy.__qualname__ = name
    return kernel(driver, parallel=True, nogil=False), kernel(copy)


predict = _both(_predict)
states = _both(_states)
loss_and_grad = _both(_loss_and_grad)


def _parallel_is_safe() -> bool:
    """Whether a parallel kernel may start here and now.

    A forked child must not use its parent's OpenMP threads, and Numba's own
    "workqueue" aborts the process when two threads enter it at once.
    """
    if in_forked_child():
        return False
    if threading.current_thread() is threading.main_thread():
        return True
    try:
        return numba.threading_layer() in ("omp", "tbb")
    except ValueError:  # no layer is running yet, so which one it will be is unknown
        return False


def run(driver: tuple[Callable, Callable], n_threads: int, *args: Any) -> Any:
    """Call one of this module's drivers on ``n_threads`` threads.

    Parameters
    ----------
    driver : tuple of callable
        ``predict``, ``states`` or ``loss_and_grad``.
    n_threads : int
        At most as many as Numba was started with; one runs in the calling thread.
    *args
        The driver's arguments.
    """
    parallel, serial = driver
    if n_threads == 1 or not _parallel_is_safe():
        return serial(*args)
    masked = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        return parallel(*args)
    finally:
        numba.set_num_threads(masked)

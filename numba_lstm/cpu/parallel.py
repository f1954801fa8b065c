"""The tasks of a prediction and of a training step, and how they are run.

A task, number ``index`` of a stage, does a share of it: a block of sequences, or some
columns of a matrix. How a batch is cut into blocks follows from the batch alone, and no two
tasks add to the same number: results are the same, bit for bit, for any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import config, types

from numba_lstm._jit import helper, task
from numba_lstm._process import in_forked_child
from numba_lstm.cpu import launch
from numba_lstm.cpu.allocation import GAP
from numba_lstm.cpu.arguments import Inputs
from numba_lstm.cpu.gradient import add_own_gradients, gradient_share
from numba_lstm.cpu.head import head_loss, hidden_layer, hidden_layer_backward, outputs
from numba_lstm.cpu.layers import backward_layers, forward_layers
from numba_lstm.cpu.panels import pack_backward_share, pack_share
from numba_lstm.cpu.pooling import NONE, pool, unpool
from numba_lstm.cpu.table import HEAD
from numba_lstm.memory import matrix
from numba_lstm.subnormals import flush_subnormals, restore_subnormals

_NEW = np.bool_(True)  # a literal would be compiled for separately

# Rows of a block, on average, from which on it computes a gradient of its own: of fewer to write
# and to add that takes longer than the products. With 16 batches took up to twice as long.
_MANY_ROWS = 128


@task
def _pack(stage, index, theta, work, inputs, blocks, per_step):
    """Weights in panels, for a forward pass."""
    memory, table = work
    pack_share(theta, memory, table, index, blocks.size - 1)


@task
def _predict(stage, index, theta, work, inputs, blocks, per_step):
    """Forward pass of a block into the head's ``out``, and nothing else."""
    memory, table = work
    s, e, ends, base = blocks[index], blocks[index + 1], inputs.ends, np.int64(0)
    first = s + index * GAP
    if s == e:
        return
    forward_layers(theta, memory, table, inputs, s, e, base, first)
    if table[HEAD.pooling] != NONE:
        pool(theta, memory, table, ends, s, e, base, first)
    q, n, row = (ends[s], ends[e] - ends[s], ends[s]) if per_step else (s, e - s, first)
    if table[HEAD.hides]:
        hidden_layer(theta, memory, memory, table, row, n)
    outputs(theta, memory, table, row, q, n)


@task
def _keep_states(stage, index, theta, work, inputs, blocks, per_step):
    """Forward pass of a block that leaves the states of every step in ``work``."""
    memory, table = work
    s, e = blocks[index], blocks[index + 1]
    if s < e:
        forward_layers(theta, memory, table, inputs, s, e, np.int64(0), s)


@task
def _pack_for_training(stage, index, theta, grad, work, inputs, blocks, wave, per_step, targets):
    """Weights in panels, for both passes."""
    memory, table = work
    pack_share(theta, memory, table, index, wave)
    pack_backward_share(theta, memory, table, index, wave)


@helper
def _have_own(table, ends, blocks):
    """Whether each block computes a gradient of its own."""
    return table[HEAD.own + 1] > 0 and ends[ends.size - 1] >= _MANY_ROWS * (blocks.size - 1)


@task
def _forward_and_back(stage, index, theta, grad, work, inputs, blocks, wave, per_step, targets):
    """Losses of a block, and backpropagation through time: gates become da."""
    (memory, table), ends = work, inputs.ends
    first = (stage - 1) // 2 * wave
    last = min(first + wave, blocks.size - 1)
    if first + index >= last or blocks[first + index] == blocks[first + index + 1]:
        return
    s, e, base = blocks[first + index], blocks[first + index + 1], ends[blocks[first]]
    forward_layers(theta, memory, table, inputs, s, e, base, s)
    if table[HEAD.pooling] != NONE:
        pool(theta, memory, table, ends, s, e, base, s)
    row, n = (ends[s] - base, ends[e] - ends[s]) if per_step else (s, e - s)
    if table[HEAD.hides]:
        hidden_layer(theta, memory, memory, table, row, n)
    head_loss(theta, memory, table, ends, s, e, base, per_step, targets)
    before = flush_subnormals()
    if table[HEAD.hides]:
        hidden_layer_backward(memory, table, row, n, index)
    if table[HEAD.pooling] != NONE:
        unpool(theta, memory, table, ends, s, e, base, index)
    backward_layers(theta, memory, table, inputs, s, e, base, index)
    if _have_own(table, ends, blocks):
        own, all_of_it = matrix(memory, table, HEAD.own)[index], (np.int64(0), np.int64(1), _NEW)
        gradient_share(
            *(own, memory, table, ends, blocks, first, first + index, np.int64(1), index),
            *(*all_of_it, per_step),
        )
    restore_subnormals(before)


@task
def _gradient(stage, index, theta, grad, work, inputs, blocks, wave, per_step, targets):
    """A share of the weights' gradient, for the blocks of a wave."""
    memory, table = work
    first, ends = (stage - 1) // 2 * wave, inputs.ends
    n_blocks, fresh = min(wave, blocks.size - 1 - first), first == 0
    before = flush_subnormals()
    if _have_own(table, ends, blocks):
        add_own_gradients(grad, memory, table, blocks, first, n_blocks, index, wave, fresh)
    else:
        gradient_share(
            *(grad, memory, table, ends, blocks, first, first, n_blocks, index),
            *(index, wave, fresh, per_step),
        )
    restore_subnormals(before)


# The tasks of the first stage, of the second, the fourth and so on, and of the third, the
# fifth and so on. A step of training goes over ``wave`` blocks at a time, so that the
# gradient finds what the passes have left still in the cache, and the buffers are those of
# a wave.
PREDICT = _pack, _predict, _predict
STATES = _pack, _keep_states, _keep_states
LOSS_AND_GRAD = _pack_for_training, _forward_and_back, _gradient


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


def run(
    tasks: tuple[Callable, Callable, Callable],
    n_serial: int,
    n_stages: int,
    n_tasks: int,
    n_threads: int,
    key: Any,
    *args: Any,
) -> None:
    """Run all stages of a prediction or of a training step on ``n_threads`` threads.

    Parameters
    ----------
    tasks : tuple of callable
        ``PREDICT``, ``STATES`` or ``LOSS_AND_GRAD``.
    n_serial, n_stages, n_tasks : int
        How often; the stages come one after the other, and the tasks of the first
        ``n_serial`` stages, too.
    n_threads : int
        At most as many as Numba was started with; one runs in the calling thread.
    key : hashable
        Tells calls apart whose arguments differ in type.
    *args
        The tasks' further arguments.
    """
    if config.DISABLE_JIT:
        _run_uncompiled(tasks, n_stages, n_tasks, *args)
        return
    where = _addresses_of(tasks, key, args)
    if n_threads == 1 or n_tasks == 1 or not _parallel_is_safe():
        launch.start(0, where, 1, n_stages, n_stages, n_tasks, *args)
    else:
        launch.start(_driver(), where, n_threads, n_serial, n_stages, n_tasks, *args)


class Again:
    """Tasks that can be run again, with other inputs of the same shape.

    Parameters
    ----------
    tasks, n_serial, n_stages, n_tasks, key
        As for :func:`run`.
    values : ndarray of shape (M, F)
        What the inputs' memory is of.
    *args
        The tasks' arguments, the inputs among them.
    """

    def __init__(
        self,
        tasks: tuple[Callable, Callable, Callable],
        n_serial: int,
        n_stages: int,
        n_tasks: int,
        key: Any,
        values: np.ndarray,
        *args: Any,
    ) -> None:
        self._like = values.shape, values.dtype
        self._tasks, self._sizes, self._n_serial = tasks, (n_stages, n_tasks), n_serial
        if not config.DISABLE_JIT:
            (inputs,) = (arg for arg in args if isinstance(arg, Inputs))
            # Of each number of threads that was asked for.
            self._orders: dict[int, np.ndarray] = {1: np.zeros(launch.ORDER_SIZE, np.int64)}
            where = _addresses_of(tasks, key, args)
            launch.keep(self._orders[1], where, n_stages, n_tasks, inputs.memory, *args)
        # An order has their addresses only. The inputs are the caller's.
        self._args = [
            arg._replace(memory=_NO_BYTES) if isinstance(arg, Inputs) else arg for arg in args
        ]

    def fits(self, values: np.ndarray) -> bool:
        """Whether it can be run with inputs (M, F)."""
        return (values.shape, values.dtype) == self._like and values.flags.carray

    def run(self, values: np.ndarray, n_threads: int) -> None:
        """Run it with inputs (M, F) that fit."""
        if config.DISABLE_JIT:
            memory = values.reshape(-1).view(np.uint8)
            args = [a._replace(memory=memory) if isinstance(a, Inputs) else a for a in self._args]
            _run_uncompiled(self._tasks, *self._sizes, *args)
            return
        if n_threads == 1 or self._sizes[1] == 1 or not _parallel_is_safe():
            n_threads = 1
        order = self._orders.get(n_threads)
        if order is None:
            order = launch.in_parallel(self._orders[1], _driver(), n_threads, self._n_serial)
            self._orders[n_threads] = order
        # As bytes, so that one kernel serves float32 and float64.
        launch.resume(order, values.view(_BYTE))


def _run_uncompiled(tasks, n_stages, n_tasks, *args):
    for stage in range(n_stages):
        for index in range(n_tasks):
            tasks[launch.which(stage)](stage, index, *args)


def _addresses_of(tasks, key, args):
    """Where tasks lie, compiled for the types of their arguments."""
    where = _addresses.get((tasks, key))
    if where is None:
        kinds = (types.intp, types.intp, *map(numba.typeof, args))
        where = tuple(launch.address(task, kinds) for task in tasks)
        _addresses[tasks, key] = where
    return where


def _driver():
    address = _addresses.get("driver")
    if address is None:
        address = _addresses["driver"] = launch.driver_address()
    return address


_BYTE = np.dtype(np.uint8)
_NO_BYTES = np.empty(0, _BYTE)

# To look up the types of the arguments takes 0.2 ms.
_addresses: dict[Any, Any] = {}

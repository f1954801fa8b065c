"""The tasks of a prediction and of a training step, and how they are run.

A task does its share of a stage: a block of sequences, or some columns of a matrix. How
a batch is cut into blocks follows from the batch alone, and no two tasks add to the same
number: results are the same, bit for bit, for any number of threads.

What a network does not need is not compiled with it: None is a type of its own, for which
Numba leaves branches out. ``combining`` is None or True: whether outputs of layers are
merged, added to, pooled or go through a hidden layer. ``variant`` is None for plain cells,
else a tuple of None or True: whether their gates are special, they are normalised,
projected, stay as they were, and decay with time; all None where something is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import config, types

from numba_lstm._jit import kernel
from numba_lstm._process import in_forked_child
from numba_lstm.cpu import launch
from numba_lstm.cpu.allocation import GAP
from numba_lstm.cpu.cells import (
    BACKWARD,
    FORWARD,
    backward_cell,
    forward_cell,
    merge_outputs,
    skip,
)
from numba_lstm.cpu.gradient import gradient_share
from numba_lstm.cpu.head import head_loss, hidden_layer, hidden_layer_backward, outputs
from numba_lstm.cpu.panels import pack_backward_share, pack_share
from numba_lstm.cpu.pooling import pool, unpool
from numba_lstm.cpu.table import CELL, cell_part, n_cells


@kernel
def predict(stage, task, variant, combining, theta, work, inputs, blocks, per_step):
    """Forward pass of a batch into the head's ``out``, and nothing else."""
    memory, table = work
    s, e, ends, base = blocks[task], blocks[task + 1], inputs.ends, np.int64(0)
    first = s + task * GAP
    if stage == 0:
        pack_share(variant, combining, theta, memory, table, task, blocks.size - 1)
    elif s < e:
        for k in range(n_cells(table)):
            cell = cell_part(k)
            every_step = table[cell + CELL.every_step] != 0
            forward_cell(
                variant, theta, memory, table, cell, inputs, s, e, base, first, every_step
            )
            if combining is not None:
                merge_outputs(memory, table, cell, ends, s, e, base, first, every_step)
                skip(memory, table, cell, FORWARD, ends, s, e, base, first, every_step)
        if combining is not None:
            pool(theta, memory, table, ends, s, e, base, first)
        q, n, row = (ends[s], ends[e] - ends[s], ends[s]) if per_step else (s, e - s, first)
        if combining is not None:
            hidden_layer(theta, memory, table, row, n)
        outputs(theta, memory, table, row, q, n)


@kernel
def states(stage, task, variant, combining, theta, work, inputs, blocks):
    """Forward pass of a batch that leaves the states of every step in ``work``."""
    memory, table = work
    s, e, ends, base = blocks[task], blocks[task + 1], inputs.ends, np.int64(0)
    if stage == 0:
        pack_share(variant, combining, theta, memory, table, task, blocks.size - 1)
    elif s < e:
        for k in range(n_cells(table)):
            cell = cell_part(k)
            forward_cell(variant, theta, memory, table, cell, inputs, s, e, base, s, True)
            if combining is not None:
                merge_outputs(memory, table, cell, ends, s, e, base, s, True)
                skip(memory, table, cell, FORWARD, ends, s, e, base, s, True)


@kernel
def loss_and_grad(
    stage, task, variant, combining, theta, grad, work, inputs, blocks, wave, per_step, targets
):
    """Losses of a batch and their gradient: weights are packed, then three passes.

    The passes go over ``wave`` blocks at a time, so that the last one finds what the
    first two have left still in the cache, and the buffers are those of a wave.
    """
    (memory, table), ends = work, inputs.ends
    if stage == 0:
        pack_share(variant, combining, theta, memory, table, task, wave)
        pack_backward_share(variant, combining, theta, memory, table, task, wave)
        return
    first = (stage - 1) // 2 * wave
    last = min(first + wave, blocks.size - 1)
    base = ends[blocks[first]]
    if stage % 2 == 0:
        gradient_share(
            *(variant, combining, grad, memory, table, ends, blocks, first, per_step),
            *(task, wave),
        )
    elif first + task < last and blocks[first + task] < blocks[first + task + 1]:
        s, e = blocks[first + task], blocks[first + task + 1]
        for k in range(n_cells(table)):
            cell = cell_part(k)
            every_step = table[cell + CELL.every_step] != 0
            forward_cell(variant, theta, memory, table, cell, inputs, s, e, base, s, every_step)
            if combining is not None:
                merge_outputs(memory, table, cell, ends, s, e, base, s, every_step)
                skip(memory, table, cell, FORWARD, ends, s, e, base, s, every_step)
        if combining is not None:
            pool(theta, memory, table, ends, s, e, base, s)
            row, n = (ends[s] - base, ends[e] - ends[s]) if per_step else (s, e - s)
            hidden_layer(theta, memory, table, row, n)
        head_loss(theta, memory, table, ends, s, e, base, per_step, targets)
        if combining is not None:
            hidden_layer_backward(memory, table, row, n, task)
            unpool(theta, memory, table, ends, s, e, base, task)
        for k in range(n_cells(table) - 1, -1, -1):
            cell = cell_part(k)
            every_step = table[cell + CELL.every_step] != 0
            backward_cell(
                variant, theta, memory, table, cell, inputs, s, e, base, every_step, task
            )
            if combining is not None:
                skip(memory, table, cell, BACKWARD, ends, s, e, base, s, every_step)


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
    task: Callable,
    n_serial: int,
    n_stages: int,
    n_tasks: int,
    n_threads: int,
    key: Any,
    *args: Any,
) -> None:
    """Run one of this module's tasks, all its stages, on ``n_threads`` threads.

    Parameters
    ----------
    task : callable
        ``predict``, ``states`` or ``loss_and_grad``.
    n_serial, n_stages, n_tasks : int
        How often; the stages come one after the other, and the tasks of the first
        ``n_serial`` stages, too.
    n_threads : int
        At most as many as Numba was started with; one runs in the calling thread.
    key : hashable
        Tells calls apart whose arguments differ in type.
    *args
        The task's further arguments.
    """
    if config.DISABLE_JIT:
        for stage in range(n_stages):
            for index in range(n_tasks):
                task(stage, index, *args)
        return
    where = _addresses.get((task, key))
    if where is None:
        kinds = (types.intp, types.intp, *map(numba.typeof, args))
        where = _addresses[task, key] = launch.address(task, kinds)
    if n_threads == 1 or n_tasks == 1 or not _parallel_is_safe():
        launch.start(0, where, n_stages, n_stages, n_tasks, *args)
        return
    driver = _addresses.get("driver")
    if driver is None:
        driver = _addresses["driver"] = launch.address(launch.driver, (types.intp,) * 5)
    masked = numba.get_num_threads()
    if masked == n_threads:
        launch.start(driver, where, n_serial, n_stages, n_tasks, *args)
        return
    numba.set_num_threads(n_threads)
    try:
        launch.start(driver, where, n_serial, n_stages, n_tasks, *args)
    finally:
        numba.set_num_threads(masked)


# Where the compiled tasks lie: looking up the types of their arguments takes 0.2 ms.
_addresses: dict[Any, int] = {}

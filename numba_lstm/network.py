"""The network as a function of theta: ``predict``, ``states`` and ``loss_and_grad``.

Everything that trains a network, whatever the optimiser, calls the one
:meth:`BaseNetwork.loss_and_grad`.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.cpu import parallel
from numba_lstm.cpu.allocation import GAP, NOTHING, Needs, Workspace
from numba_lstm.cpu.arguments import Inputs, Targets
from numba_lstm.cpu.pace import Pace, paces
from numba_lstm.cpu.plan import packed_rows, plan
from numba_lstm.cpu.table import CELL, HEAD, part_of_cell
from numba_lstm.cpu.workspace import KEPT_BYTES, Buffers
from numba_lstm.losses import sum_of_losses
from numba_lstm.memory import matrix
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch
from numba_lstm.states import State, States

# Weights that one thread packs in some 10 microseconds.
_FEW_WEIGHTS = 50_000

_NO_DECAY = np.empty(0)


class _Sweep(NamedTuple):
    """What a prediction has left, and what the next of its kind needs."""

    network: Network
    theta: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    blocks: np.ndarray
    work: Workspace
    out: np.ndarray
    prediction: parallel.Again

    def can_go_on(self, network, theta, batch):
        """Whether these are the weights and the places of the last batch."""
        return (
            self.network is network
            and self.theta is theta
            and self.lengths is batch.lengths
            and self.starts is batch.starts
            and self.prediction.fits(batch.values)
        )


# Of each thread, as its buffers are: a small prediction that goes on from the last one takes 4 us
# less.
_last = threading.local()


class _Step(NamedTuple):
    """A training step that can be taken again: with the same arrays, from other sequences."""

    theta: np.ndarray
    grad: np.ndarray
    B: int
    T: int
    starts: np.ndarray
    targets: Targets
    row_loss: np.ndarray
    n_tasks: int
    n_steps: int
    again: parallel.Again

    def can_be_taken(self, theta, grad, batch):
        """Whether it is this one that a batch of plain sequences needs."""
        return (
            self.theta is theta
            and self.grad is grad
            and len(batch.lengths) == self.B
            and self.T == batch.lengths[0] == batch.lengths[-1]
            and self.targets.y.shape == batch.y.shape
            and self.targets.weight.shape == batch.weight.shape
            and self.again.fits(batch.values)
        )

    def put(self, batch):
        """Copy what is another in each batch to where the kernels look for it."""
        self.starts[...] = batch.starts
        self.targets.y[...] = batch.y
        self.targets.weight[...] = batch.weight


# After so many calls that could have been the same, a step is kept: to keep it takes as long as
# it saves in three calls, and two more kernels have to be loaded.
_ALIKE = 32


def _nothing() -> None:
    """Stand in for a reference to nothing."""


class Network(BaseNetwork):
    """LSTM layers, pooling and a head, on the CPU.

    Parameters
    ----------
    layout, dtype, **options
        As for :class:`BaseNetwork`.
    n_threads : int
        Threads for the kernels.
    """

    room = 2**22

    def __init__(self, layout: Layout, dtype: np.dtype, *, n_threads: int, **options: Any) -> None:
        super().__init__(layout, dtype, **options)
        self.n_threads = n_threads
        self._ends_last = layout.pooling == "last"
        self._buffers = Buffers(layout, self.dtype, self.per_step)
        # Few weights are packed sooner than other threads are woken.
        self._n_serial = 1 if layout.size < _FEW_WEIGHTS else 0
        self._paces = paces(layout, self.dtype.char, n_threads)
        self._step: _Step | None = None
        # Weights and gradient of the last steps, which are not to be kept alive, and how many
        # steps there were of each kind.
        self._alike: tuple[Callable, Callable, dict[Any, int]] = _nothing, _nothing, {}

    def loss_and_grad_of_window(
        self,
        theta: np.ndarray,
        batch: Batch,
        grad: np.ndarray,
        seed: int = 0,
        *,
        state: State | None = None,
        end: State | None = None,
        d_state: State | None = None,
        first_step: int = 0,
    ) -> float:
        """Loss and gradient of a batch; see :meth:`BaseNetwork.loss_and_grad_of_window`."""
        is_plain = not seed and state is None and end is None and d_state is None
        is_plain = is_plain and not (self.per_step or self._draws or self.layout.decays)
        step = self._step
        if step is not None and is_plain and step.can_be_taken(theta, grad, batch):
            step.put(batch)
            run = functools.partial(step.again.run, batch.values)
            self._run_paced(run, step.n_tasks, step.n_steps)
            return float(sum_of_losses(step.row_loss))
        # The kernels' code is chosen by dtypes alone: anything else must not reach it.
        y = np.ascontiguousarray(batch.y, self.dtype)
        weight = np.ascontiguousarray(batch.weight, self.dtype)
        cut, inputs, values = self._prepare(batch)
        drops = self.dropout if seed else NOTHING
        needs = Needs("train", state is not None, end is not None, d_state is not None, drops)
        B = len(batch.lengths)
        varies = batch.lengths[0] != batch.lengths[-1]
        work = self._buffers.room(needs, cut.rows, B, len(y), cut.wave, varies)
        self._draw(work, drops, B, seed, first_step)
        if state is not None:
            self._put(work, state, CELL.h_0, CELL.c_0)
        if d_state is not None:
            self._put(work, d_state, CELL.dh, CELL.dc)
        if self.per_step:
            rows = packed_rows(batch.lengths, cut.blocks)
            given, given_weight = y, weight
            y, weight = np.empty_like(y), np.empty_like(weight)
            y[rows], weight[rows] = given, given_weight
        targets = Targets(y, weight, self.loss, self.loss_parameter)
        n_stages = 1 + 2 * -(-(len(cut.blocks) - 1) // cut.wave)
        arguments = theta, grad, work, inputs, cut.blocks, cut.wave, self.per_step, targets
        row_loss = matrix(work.memory, work.table, HEAD.row_loss)[0, : len(weight)]
        if is_plain and not varies and self._is_to_keep(theta, grad, batch):
            # The arrays of the batch are the caller's.
            starts, own = inputs.starts.copy(), Targets(y.copy(), weight.copy(), *targets[2:])
            inputs, targets = inputs._replace(starts=starts), own
            arguments = theta, grad, work, inputs, cut.blocks, cut.wave, self.per_step, own
            self._step = _Step(
                *(theta, grad, B, int(batch.lengths[0]), starts, own, row_loss),
                *(cut.wave, int(cut.ends[-1])),
                parallel.Again(
                    *(parallel.LOSS_AND_GRAD, self._n_serial, n_stages, cut.wave),
                    *(self.dtype.char, values, *arguments),
                ),
            )
        self._run(parallel.LOSS_AND_GRAD, n_stages, cut.wave, int(cut.ends[-1]), *arguments)
        if end is not None:
            self._take(work, end, CELL.h_end, CELL.c_end)
        if d_state is not None:
            self._take(work, d_state, CELL.dh, CELL.dc)
        if state is not None and self.layout.learned_state:
            for k in range(len(self.layout.cells)):  # which are not what they began with
                for key in ("h_0", "c_0"):
                    grad[self.layout.places[k, key]] = 0
        return float(sum_of_losses(row_loss))

    def predict(self, theta: np.ndarray, batch: Batch, state: State | None = None) -> np.ndarray:
        """Outputs (Q, K) of a batch; see :meth:`BaseNetwork.predict`."""
        sweep = self._forward(theta, batch, state)
        if self.per_step:
            return sweep.out[packed_rows(batch.lengths, sweep.blocks)]
        return sweep.out[: len(batch.lengths)].copy()

    def attention(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Attention weights (S,) of a batch's steps, which sum to 1 for each sequence."""
        sweep = self._forward(theta, batch, None)
        alpha = matrix(sweep.work.memory, sweep.work.table, HEAD.alpha)
        return alpha[packed_rows(batch.lengths, sweep.blocks), 0]

    def advance(
        self, theta: np.ndarray, batch: Batch, state: State, seed: int = 0, first_step: int = 0
    ) -> None:
        """Move the state of a batch's sequences on by its steps."""
        self._forward(theta, batch, state, seed, first_step)

    def _forward(self, theta, batch, state, seed=0, first_step=0):
        """Run a prediction; return where it has left the outputs."""
        is_plain = state is None and not seed
        last = _last.__dict__.get("sweep")
        if is_plain and last is not None and last.can_go_on(self, theta, batch):
            last.prediction.run(batch.values, self.n_threads)
            return last
        self._check_vector(theta, "theta")
        drops = self.dropout if seed else NOTHING
        needs = Needs("predict", state is not None, drops=drops)
        cut, inputs, values = self._prepare(batch, keeps=False)
        S, B, n_tasks = int(cut.ends[-1]), len(batch.lengths), len(cut.blocks) - 1
        # One layer keeps no row for each time step.
        keeps = self.per_step or not self._ends_last or len(self.layout.hidden_sizes) > 1
        work = self._buffers.room(needs, S if keeps else 0, B, S if self.per_step else B, n_tasks)
        self._draw(work, drops, B, seed, first_step)
        if state is not None:
            self._put(work, state, CELL.h_0, CELL.c_0)
        prediction = parallel.Again(
            *(parallel.PREDICT, self._n_serial, 2, n_tasks, self.dtype.char, values),
            *(theta, work, inputs, cut.blocks, self.per_step),
        )
        prediction.run(values, self.n_threads)
        if state is not None:
            self._take_state(work, state, cut.blocks)
        out = matrix(work.memory, work.table, HEAD.out)
        sweep = _Sweep(self, theta, batch.starts, batch.lengths, cut.blocks, work, out, prediction)
        changes = self._draws or self.layout.decays or batch.lengths.flags.writeable
        if is_plain and not changes and work.memory.nbytes + theta.nbytes <= KEPT_BYTES:
            _last.sweep = sweep  # lengths that nobody changes: see sequences.py
        return sweep

    def _put(self, work, state, *columns):
        """Copy a state into two matrices of each cell."""
        for k in range(len(self.layout.cells)):
            for given, column in zip(state, columns, strict=True):
                rows = matrix(work.memory, work.table, part_of_cell(k) + column)
                rows[: len(given[k])] = given[k]

    def _take(self, work, state, *columns):
        """Copy a state out of two matrices of each cell."""
        for k in range(len(self.layout.cells)):
            for to, column in zip(state, columns, strict=True):
                rows = matrix(work.memory, work.table, part_of_cell(k) + column)
                to[k][...] = rows[: len(to[k])]

    def _take_state(self, work, state, blocks):
        rows = np.arange(blocks[-1])
        rows += GAP * np.repeat(np.arange(len(blocks) - 1), np.diff(blocks))
        for k, cell in enumerate(self.layout.cells):
            first = cell.n_inputs + self.layout.bias
            part = part_of_cell(k)
            xh, c = (
                matrix(work.memory, work.table, part + column) for column in (CELL.xh, CELL.c)
            )
            state.h[k][...] = xh[rows, first : first + cell.output_size]
            state.c[k][...] = c[rows]

    def states(self, theta: np.ndarray, batch: Batch, layer: int = -1) -> States:
        """Hidden states, cells and gates of one layer at every time step of a batch."""
        self._check_vector(theta, "theta")
        cut, inputs, _ = self._prepare(batch)
        S, B, n_tasks = int(cut.ends[-1]), len(batch.lengths), len(cut.blocks) - 1
        needs = Needs("states")
        work = self._buffers.room(needs, S, B, S, n_tasks)
        self._draw(work, NOTHING, B, 0, 0)
        self._run(parallel.STATES, 2, n_tasks, S, theta, work, inputs, cut.blocks, True)
        rows = packed_rows(batch.lengths, cut.blocks)
        layer = range(len(self.layout.hidden_sizes))[layer]
        parts: list[list[np.ndarray]] = [[], [], []]
        for k, cell in enumerate(self.layout.cells):
            if cell.layer == layer:
                part, H, P = part_of_cell(k), cell.hidden_size, cell.output_size
                h, c, gates = (
                    matrix(work.memory, work.table, part + column)
                    for column in (CELL.h, CELL.c, CELL.gates)
                )
                first = work.table[part + CELL.h_column]
                parts[0].append(h[rows, first : first + P])
                parts[1].append(c[rows])
                parts[2].append(gates[rows].reshape(-1, 4, H))
        h, c, gates = (np.concatenate(part, axis=-1) for part in parts)
        return States(h, c, gates.reshape(len(rows), -1))

    def _is_to_keep(self, theta, grad, batch):
        """Count a step; return whether its like has come often enough for it to be kept."""
        if theta is not self._alike[0]() or grad is not self._alike[1]():
            self._alike, self._step = (weakref.ref(theta), weakref.ref(grad), {}), None
        counts, kind = self._alike[2], (len(batch.lengths), batch.lengths[0], batch.values.shape)
        counts[kind] = counts.get(kind, 0) + 1
        return self._step is None and counts[kind] >= _ALIKE

    def _run(self, tasks, n_stages, n_tasks, n_steps, theta, *arguments):
        def run(n_threads):
            stages = tasks, self._n_serial, n_stages, n_tasks, n_threads
            parallel.run(*stages, self.dtype.char, theta, *arguments)

        # A fit has calls enough to find out how many threads are best, predictions are few.
        if tasks is parallel.LOSS_AND_GRAD:
            self._run_paced(run, n_tasks, n_steps)
        else:
            run(self.n_threads)

    def _run_paced(self, run, n_tasks, n_steps):
        """Run a training step on as many threads as are faster."""
        if self.n_threads == 1 or n_tasks == 1:
            run(self.n_threads)
            return
        key = n_steps.bit_length()
        pace = self._paces.get(key)
        if pace is None:
            pace = self._paces[key] = Pace(self.n_threads)
        n_threads, began = pace.choose(), time.perf_counter()
        run(n_threads)
        pace.took(n_threads, time.perf_counter() - began, n_steps)

    def _draw(self, work, drops, B, seed, first_step):
        """Put what is dropped where the kernels look for it."""
        if not self._draws and drops is NOTHING:
            return
        if self._draws:
            columns = [HEAD.draws, HEAD.seed, HEAD.first_step]
            work.table[columns] = seed > 0, seed, first_step
        for k, which, mask in self.masks(drops, B, seed):
            column = part_of_cell(k) + (CELL.x_mask if which == "x" else CELL.h_mask)
            matrix(work.memory, work.table, column)[:B] = mask

    def _prepare(self, batch, keeps=True):
        """Return how a batch is cut up, and its inputs as the kernels take them.

        With them comes the array (M, F) that their memory belongs to.
        """
        cut = plan(batch.lengths, self.layout, self.dtype.itemsize, self.n_threads, keeps)
        values, starts = np.ascontiguousarray(batch.values), np.ascontiguousarray(batch.starts)
        if values.dtype.char not in "fd" or not values.dtype.isnative:
            values = values.astype(np.float64)
        source = values.reshape(-1).view(np.uint8), values.itemsize
        decay = _NO_DECAY
        if self.layout.decays:
            if batch.decay is None:
                raise ValueError("This network's cells decay with time; the batch has no times.")
            decay = np.ascontiguousarray(batch.decay, np.float64)
        inputs = Inputs(*source, starts, cut.ends, self.mean, self.inverse_scale, decay)
        return cut, inputs, values

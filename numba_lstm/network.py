"""The network as a function of theta: ``predict``, ``states`` and ``loss_and_grad``.

Everything that trains a network, whatever the optimiser, calls the one
:meth:`Network.loss_and_grad`.
"""

from __future__ import annotations

import numpy as np

from numba_lstm.cpu import parallel
from numba_lstm.cpu.allocation import GAP, NOTHING, Drops, Needs
from numba_lstm.cpu.arguments import Inputs, Targets
from numba_lstm.cpu.plan import packed_rows, plan
from numba_lstm.cpu.table import CELL, HEAD, part_of_cell
from numba_lstm.cpu.workspace import Buffers
from numba_lstm.memory import matrix
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch
from numba_lstm.states import State, States
from numba_lstm.windows import recomputed_loss_and_grad

# Weights that one thread packs in some 10 microseconds.
_FEW_WEIGHTS = 50_000

_NO_DECAY = np.empty(0)


class Network:
    """LSTM layers and a linear head, on the CPU.

    Parameters
    ----------
    layout : Layout
        Its architecture.
    dtype : numpy.dtype
        Of theta and of all arithmetic: float32 or float64.
    per_step : bool
        Whether every time step has an output, or only each sequence's last.
    loss : int
        One of the constants of losses.py.
    loss_parameter : float
        delta of the Huber loss, quantile of the pinball loss.
    mean, scale : ndarray of shape (F,)
        Standardisation of the inputs, float64.
    n_threads : int
        Threads for the kernels.
    dropout : Drops
        Which shares are dropped in training.
    recomputes : bool
        Whether a gradient keeps the states of some steps only, and computes the others again:
        see windows.py.
    """

    def __init__(
        self,
        layout: Layout,
        dtype: np.dtype,
        *,
        per_step: bool,
        loss: int,
        loss_parameter: float,
        mean: np.ndarray,
        scale: np.ndarray,
        n_threads: int,
        dropout: Drops = NOTHING,
        recomputes: bool = False,
    ) -> None:
        self.layout = layout
        self.dtype = np.dtype(dtype)
        self.per_step = per_step
        self.loss = loss
        self.loss_parameter = self.dtype.type(loss_parameter)
        # Copies: read-only arrays (a model that joblib maps from a file) are another
        # type to Numba, which would compile every kernel again for it.
        self.mean = np.array(mean)
        self.inverse_scale = 1.0 / np.array(scale)
        self.n_threads = n_threads
        self.dropout = dropout
        self.recomputes = recomputes
        self._ends_last = layout.pooling == "last"
        self._draws = any(layout.zoneout)
        self._buffers = Buffers(layout, self.dtype, per_step)

    def loss_and_grad(
        self,
        theta: np.ndarray,
        batch: Batch,
        grad: np.ndarray | None = None,
        generator: np.random.Generator | None = None,
        *,
        state: State | None = None,
        end: State | None = None,
    ) -> tuple[float, np.ndarray]:
        """Loss of a batch and its gradient with respect to theta.

        Parameters
        ----------
        theta : ndarray of shape (layout.size,)
            The weights.
        batch : Batch
            Inputs, targets and weights.
        grad : ndarray of shape (layout.size,), optional
            Where to put the gradient.
        generator : numpy.random.Generator, optional
            Draws what is dropped; without one nothing is.
        state : State, optional
            What the sequences begin with; no gradient goes into it.
        end : State, optional
            Receives what they end with.

        Returns
        -------
        loss : float
            Sum over the outputs of weight times loss.
        grad : ndarray of shape (layout.size,)
            Its gradient.

        Raises
        ------
        ValueError
            If theta or grad is not a contiguous vector of the network's size and dtype, or
            the batch has no targets.
        """
        if grad is None:
            grad = np.empty_like(theta)
        self._check_vector(theta, "theta")
        self._check_vector(grad, "grad")
        if batch.y is None or batch.weight is None:
            raise ValueError("This batch has no targets or no weights; a loss needs both.")
        seed = 0
        if generator is not None and (self.dropout != NOTHING or self._draws):
            seed = int(generator.integers(1, 2**62))
        if self.recomputes and batch.lengths[0] > 1:
            loss = recomputed_loss_and_grad(self, theta, batch, grad, seed, state, end)
        else:
            loss = self.loss_and_grad_of_window(theta, batch, grad, seed, state=state, end=end)
        return loss, grad

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
        """Loss and gradient of a batch that is a part of longer sequences.

        Parameters
        ----------
        theta, batch, grad
            As for :meth:`loss_and_grad`, checked there.
        seed : int
            Of what is dropped; 0 drops nothing.
        state : State, optional
            What the sequences begin with.
        end : State, optional
            Receives what they end with.
        d_state : State, optional
            Gradient with respect to what they end with; receives that with respect to what they
            begin with.
        first_step : int
            Number of the first time step.

        Returns
        -------
        float
            The loss.
        """
        # The kernels' code is chosen by dtypes alone: anything else must not reach it.
        y = np.ascontiguousarray(batch.y, self.dtype)
        weight = np.ascontiguousarray(batch.weight, self.dtype)
        cut, inputs = self._prepare(batch)
        drops = self.dropout if seed else NOTHING
        needs = Needs("train", state is not None, end is not None, d_state is not None, drops)
        B = len(batch.lengths)
        work = self._buffers.room(needs, cut.rows, B, len(y), cut.wave)
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
        n_waves = -(-(len(cut.blocks) - 1) // cut.wave)
        self._run(
            *(parallel.LOSS_AND_GRAD, 1 + 2 * n_waves, cut.wave, theta),
            *(grad, work, inputs, cut.blocks, cut.wave, self.per_step, targets),
        )
        if end is not None:
            self._take(work, end, CELL.h_end, CELL.c_end)
        if d_state is not None:
            self._take(work, d_state, CELL.dh, CELL.dc)
        if state is not None and self.layout.learned_state:
            for k in range(len(self.layout.cells)):  # which are not what they began with
                for key in ("h_0", "c_0"):
                    grad[self.layout.places[k, key]] = 0
        row_loss = matrix(work.memory, work.table, HEAD.row_loss)[0]
        return float(row_loss[: len(weight)].sum(dtype=np.float64))

    def predict(self, theta: np.ndarray, batch: Batch, state: State | None = None) -> np.ndarray:
        """Outputs (Q, K) of a batch: Q = B, or with ``per_step`` its S time steps.

        ``state`` is what the sequences begin with, and receives what they end with.
        """
        work, cut = self._forward(theta, batch, state)
        out = matrix(work.memory, work.table, HEAD.out)
        if self.per_step:
            return out[packed_rows(batch.lengths, cut.blocks)]
        return out[: len(batch.lengths)].copy()

    def attention(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Attention weights (S,) of a batch's steps, which sum to 1 for each sequence."""
        work, cut = self._forward(theta, batch, None)
        alpha = matrix(work.memory, work.table, HEAD.alpha)
        return alpha[packed_rows(batch.lengths, cut.blocks), 0]

    def advance(
        self, theta: np.ndarray, batch: Batch, state: State, seed: int = 0, first_step: int = 0
    ) -> None:
        """Move the state of a batch's sequences on by its steps.

        The arguments are those of :meth:`loss_and_grad_of_window`.
        """
        self._forward(theta, batch, state, seed, first_step)

    def _forward(self, theta, batch, state, seed=0, first_step=0):
        """Run a prediction; return its buffers and how the batch was cut up."""
        self._check_vector(theta, "theta")
        cut, inputs = self._prepare(batch, keeps=False)
        S, B, n_tasks = int(cut.ends[-1]), len(batch.lengths), len(cut.blocks) - 1
        # One layer keeps no row for each time step.
        keeps = self.per_step or not self._ends_last or len(self.layout.hidden_sizes) > 1
        drops = self.dropout if seed else NOTHING
        needs = Needs("predict", state is not None, drops=drops)
        work = self._buffers.room(needs, S if keeps else 0, B, S if self.per_step else B, n_tasks)
        self._draw(work, drops, B, seed, first_step)
        if state is not None:
            self._put(work, state, CELL.h_0, CELL.c_0)
        self._run(
            *(parallel.PREDICT, 2, n_tasks, theta),
            *(work, inputs, cut.blocks, self.per_step),
        )
        if state is not None:
            self._take_state(work, state, cut.blocks)
        return work, cut

    def first_state(self, theta: np.ndarray, B: int) -> State:
        """What B sequences begin with if nothing is given: zeros, or what was learned."""
        weights, learned = self.layout.views(theta), self.layout.learned_state
        state = self.no_state(B)
        for k in range(len(self.layout.cells) if learned else 0):
            state.h[k][...], state.c[k][...] = weights[k, "h_0"], weights[k, "c_0"]
        return state

    def no_state(self, B: int) -> State:
        """Zeros for B sequences: a state, or its gradient."""
        cells = self.layout.cells
        return State(
            [np.zeros((B, cell.output_size), self.dtype) for cell in cells],
            [np.zeros((B, cell.hidden_size), self.dtype) for cell in cells],
        )

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
        cut, inputs = self._prepare(batch)
        S, B, n_tasks = int(cut.ends[-1]), len(batch.lengths), len(cut.blocks) - 1
        needs = Needs("states")
        work = self._buffers.room(needs, S, B, S, n_tasks)
        self._draw(work, NOTHING, B, 0, 0)
        self._run(parallel.STATES, 2, n_tasks, theta, work, inputs, cut.blocks, True)
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

    def _run(self, tasks, n_stages, n_tasks, theta, *arguments):
        # Few weights are packed sooner than other threads are woken.
        n_serial = 1 if theta.size < _FEW_WEIGHTS else 0
        parallel.run(
            *(tasks, n_serial, n_stages, n_tasks, self.n_threads, self.dtype.char),
            *(theta, *arguments),
        )

    def _draw(self, work, drops, B, seed, first_step):
        """Draw what is dropped: one mask a sequence, the same at all its steps.

        (Gal and Ghahramani, 2016.) The masks of the first sequences do not depend on how many
        there are: those that end early leave the others theirs.
        """
        if self._draws:
            columns = [HEAD.draws, HEAD.seed, HEAD.first_step]
            work.table[columns] = seed > 0, seed, first_step
        if drops == NOTHING:
            return
        for k, cell in enumerate(self.layout.cells):
            between = drops.between if cell.layer else drops.inputs
            second = k > 0 and self.layout.cells[k - 1].layer == cell.layer
            shares = (0 if second else between, CELL.x_mask), (drops.recurrent, CELL.h_mask)
            for which, (share, column) in enumerate(shares):
                if share:
                    generator = np.random.default_rng((seed, k, which))
                    mask = matrix(work.memory, work.table, part_of_cell(k) + column)[:B]
                    mask[...] = (generator.random(mask.shape) >= share) / (1 - share)

    def _check_vector(self, vector, name):
        """Refuse what the kernels, which go by addresses, would read or write amiss."""
        if (
            vector.dtype != self.dtype
            or vector.shape != (self.layout.size,)
            or not vector.flags.c_contiguous
        ):
            raise ValueError(
                f"{name} has dtype {vector.dtype}, shape {vector.shape} and strides "
                f"{vector.strides}; the network needs a contiguous vector of dtype {self.dtype} "
                f"and shape {(self.layout.size,)}."
            )

    def _prepare(self, batch, keeps=True):
        """Return how a batch is cut up, and its inputs as the kernels take them."""
        cut = plan(batch.lengths, self.layout, self.dtype.itemsize, self.n_threads, keeps)
        values, starts = np.ascontiguousarray(batch.values), np.ascontiguousarray(batch.starts)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        source = values.reshape(-1).view(np.uint8), values.itemsize
        decay = _NO_DECAY
        if self.layout.decays:
            if batch.decay is None:
                raise ValueError("This network's cells decay with time; the batch has no times.")
            decay = np.ascontiguousarray(batch.decay, np.float64)
        return cut, Inputs(*source, starts, cut.ends, self.mean, self.inverse_scale, decay)

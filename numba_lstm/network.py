"""The network as a function of theta: ``predict``, ``states`` and ``loss_and_grad``.

Everything that trains a network, whatever the optimiser, calls the one
:meth:`Network.loss_and_grad`.
"""

from __future__ import annotations

import functools
import itertools
import math
import threading
from typing import NamedTuple

import numpy as np

from numba_lstm.cpu import parallel
from numba_lstm.cpu.matmul import scratch_size
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch

# Sequences of a block, at most, up to _SMALL hidden units and (twice as many) above: enough
# rows for each weight that comes from the cache, few enough to keep many cores busy.
_BLOCK_ROWS, _SMALL = 16, 256

# Weights that one thread packs in some 10 microseconds.
_FEW_WEIGHTS = 50_000

# A thread keeps the buffers of its last prediction, if they are small, for the next: to
# make new ones takes as long as to predict a sequence with a small network.
_KEPT_BYTES = 2**22
_kept = threading.local()

# Elements of a cache line, of 64 bytes, that holds float32.
_LINE = 16


class Inputs(NamedTuple):
    """A batch's inputs, as the kernels take them.

    Attributes
    ----------
    values, starts
        As in :class:`Batch`.
    ends : ndarray of int64 of shape (B + 1,)
        0, and the number of time steps of all sequences up to each one; the last is S.
    mean, inverse_scale : ndarray of float64 of shape (F,)
        Standardisation.
    """

    values: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    mean: np.ndarray
    inverse_scale: np.ndarray


class Targets(NamedTuple):
    """A batch's targets, in the order of the outputs, and the loss.

    Attributes
    ----------
    y : ndarray of shape (Q, K) or (Q, 1)
        Targets; packed rows, where each step has an output.
    weight : ndarray of shape (Q,)
        Their weights.
    kind, parameter : int, float
        The loss; see losses.py.
    """

    y: np.ndarray
    weight: np.ndarray
    kind: int
    parameter: float


class Workspace(NamedTuple):
    """Buffers of the kernels, for S time steps, B sequences and Q outputs.

    A prediction keeps nothing: there S is B, and c has B rows. Rows of time steps are
    packed (cpu/layer.py).

    Attributes
    ----------
    xh : ndarray of shape (S, F + 1 + H or a little more)
        Standardised inputs x_t, a one, and the hidden state h_{t-1}; then padding, so
        that no two rows, and no two threads, share a cache line.
    gates : ndarray of shape (S, 4H)
        The activated gates i, f, g, o; after the backward pass da.
    c : ndarray of shape (B + S, H)
        Cells; the last B rows are the zeros before the first step.
    tanh_c : ndarray of shape (S, H)
        Hyperbolic tangent of the cell.
    h : ndarray of shape (Q, H)
        Hidden state behind each output.
    out, d_out : ndarray of shape (Q, K)
        Outputs and the loss's gradient with respect to them.
    row_loss : ndarray of shape (Q,)
        Weighted loss of each output.
    dh, dc : ndarray of shape (B, H)
        Running gradients of the backward pass.
    packed_W, packed_W_hT, packed_W_y, packed_W_yT : ndarray
        Weights in panels, two of them transposed.
    scratch : ndarray
        Room for the weight gradient's products, a row for each task.
    """

    xh: np.ndarray
    gates: np.ndarray
    c: np.ndarray
    tanh_c: np.ndarray
    h: np.ndarray
    out: np.ndarray
    d_out: np.ndarray
    row_loss: np.ndarray
    dh: np.ndarray
    dc: np.ndarray
    packed_W: np.ndarray
    packed_W_hT: np.ndarray
    packed_W_y: np.ndarray
    packed_W_yT: np.ndarray
    scratch: np.ndarray


class States(NamedTuple):
    """What the cell holds at every step of a batch, sequence after sequence.

    Attributes
    ----------
    h, c : ndarray of shape (S, H)
        Hidden state and cell after each step.
    gates : ndarray of shape (S, 4H)
        The activated gates i, f, g, o.
    """

    h: np.ndarray
    c: np.ndarray
    gates: np.ndarray


class Network:
    """One LSTM layer and a linear head, on the CPU.

    Parameters
    ----------
    layout : Layout
        F, H and K.
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
        self._workspaces: dict[str, tuple] = {}

    def loss_and_grad(
        self, theta: np.ndarray, batch: Batch, grad: np.ndarray | None = None
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
        # The kernels' code is chosen by dtypes alone: anything else must not reach it.
        y = np.ascontiguousarray(batch.y, self.dtype)
        weight = np.ascontiguousarray(batch.weight, self.dtype)
        inputs, blocks = self._prepare(batch)
        work = self._workspace(inputs, blocks, "train")
        if self.per_step:
            rows = _packed_rows(batch.lengths, blocks)
            given, given_weight = y, weight
            y, weight = np.empty_like(y), np.empty_like(weight)
            y[rows], weight[rows] = given, given_weight
        targets = Targets(y, weight, self.loss, self.loss_parameter)
        views = self.layout.views
        arguments = (views(grad), work, inputs, blocks, self.per_step, targets)
        self._run(parallel.loss_and_grad, 3, theta, blocks, inputs, *arguments)
        return float(work.row_loss[: len(weight)].sum(dtype=np.float64)), grad

    def predict(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Outputs (Q, K) of a batch: Q = B, or with ``per_step`` its S time steps."""
        self._check_vector(theta, "theta")
        inputs, blocks = self._prepare(batch)
        work = self._workspace(inputs, blocks, "predict")
        self._run(parallel.predict, 2, theta, blocks, inputs, work, inputs, blocks, self.per_step)
        if self.per_step:
            return work.out[_packed_rows(batch.lengths, blocks)]
        return work.out[: len(batch.lengths)].copy()

    def states(self, theta: np.ndarray, batch: Batch) -> States:
        """Hidden states, cells and gates of a batch at every time step."""
        self._check_vector(theta, "theta")
        inputs, blocks = self._prepare(batch)
        work = self._workspace(inputs, blocks, "states")
        self._run(parallel.states, 2, theta, blocks, inputs, work, inputs, blocks)
        rows = _packed_rows(batch.lengths, blocks)
        return States(work.h[rows], work.c[rows], work.gates[rows])

    def _run(self, task, n_stages, theta, blocks, inputs, *arguments):
        # Few weights are packed sooner than other threads are woken.
        n_serial = 1 if theta.size < _FEW_WEIGHTS else 0
        parallel.run(
            *(task, n_serial, n_stages, len(blocks) - 1, self.n_threads),
            (self.dtype.char, inputs.values.dtype.char),
            *(self.layout.views(theta), *arguments),
        )

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

    def _prepare(self, batch):
        """Return a batch's inputs and the bounds of its blocks of sequences."""
        lengths = batch.lengths
        most = _BLOCK_ROWS if self.layout.hidden_size <= _SMALL else 2 * _BLOCK_ROWS
        if lengths[0] == lengths[-1]:
            ends, blocks = _equal_blocks(len(lengths), int(lengths[0]), most)
        else:
            ends = np.zeros(len(lengths) + 1, np.int64)
            np.cumsum(lengths, out=ends[1:])
            # Blocks of as many time steps, rather than of as many sequences.
            cuts = np.arange(_n_blocks(len(lengths), most) + 1)
            blocks = np.searchsorted(ends, cuts * ends[-1] // cuts[-1])
        scale = (self.mean, self.inverse_scale)
        values, starts = np.ascontiguousarray(batch.values), np.ascontiguousarray(batch.starts)
        return Inputs(values, starts, ends, *scale), blocks

    def _workspace(self, inputs, blocks, purpose):
        """Return buffers with room for a batch."""
        S, B = int(inputs.ends[-1]), len(inputs.starts)
        room = (S, B, len(blocks) - 1)
        kept = vars(_kept) if purpose == "predict" else self._workspaces
        key = (self.layout, self.dtype, self.per_step)
        held_by, held, work = kept.get(purpose, (None, (), None))
        if held_by != key or any(has < needs for has, needs in zip(held, room, strict=True)):
            work = self._allocate(*room, purpose)
            if purpose != "predict" or work.xh.base.nbytes <= _KEPT_BYTES:
                kept[purpose] = key, room, work
        return work

    def _allocate(self, S, B, n_tasks, purpose):
        """Make a workspace; what its purpose does not need has no rows."""
        (F, H, K), dtype = self.layout, self.dtype
        trains, predicts = purpose == "train", purpose == "predict"
        Q = S if self.per_step or purpose == "states" else B
        scratch = scratch_size(F + 1 + H, 4 * H, dtype.itemsize) if trains else 0
        rows = B + n_tasks * parallel.GAP if predicts else S
        shapes = {
            "xh": (rows, -(-(F + 1 + H) // _LINE) * _LINE),
            "gates": (rows, 4 * H),
            "c": (rows if predicts else B + S, H),
            "tanh_c": (0 if predicts else S, H),
            "h": (rows if predicts else Q, H),
            "out": (0 if purpose == "states" else Q, K),
            "d_out": (Q if trains else 0, K),
            "row_loss": (Q if trains else 0,),
            "dh": (B if trains else 0, H),
            "dc": (B if trains else 0, H),
            "packed_W": ((F + 1 + H) * 4 * H,),
            "packed_W_hT": (H * 4 * H if trains else 0,),
            "packed_W_y": (H * K if trains else 0,),
            "packed_W_yT": (H * K,),
            "scratch": (n_tasks, scratch),
        }
        return Workspace(**_aligned(shapes, dtype))


def _n_blocks(B, most):
    """How many blocks of B sequences, of ``most`` or fewer: even, as two cores are common."""
    return min(B, 2 * -(-B // (2 * most)))


@functools.lru_cache(maxsize=8)
def _equal_blocks(B, T, most):
    """Return ends and blocks of a batch of one length: asked for at every batch."""
    n_blocks = _n_blocks(B, most)
    return np.arange(B + 1) * T, np.arange(n_blocks + 1) * B // n_blocks


def _aligned(shapes, dtype):
    """Return arrays in one piece of memory, each at the beginning of a cache line.

    A vector that lies across two lines is loaded twice.
    """
    sizes = [-(-math.prod(shape) // _LINE) * _LINE for shape in shapes.values()]
    memory = np.empty(sum(sizes) + _LINE, dtype)
    first = -memory.ctypes.data % 64 // dtype.itemsize
    arrays = {}
    for (name, shape), size in zip(shapes.items(), sizes, strict=True):
        arrays[name] = memory[first : first + math.prod(shape)].reshape(shape)
        first += size
    return arrays


def _packed_rows(lengths, blocks):
    """Return the packed row of each time step, sequence after sequence."""
    rows, before = [], 0
    for s, e in itertools.pairwise(blocks):
        part = lengths[s:e]
        sequence = np.repeat(np.arange(e - s), part)
        t = np.arange(len(sequence)) - np.repeat(np.cumsum(part) - part, part)
        # Rows of step t begin behind those of the steps before it.
        at_step = np.cumsum(np.bincount(t)) if len(t) else t
        rows.append(before + (at_step - np.bincount(t))[t] + sequence if len(t) else t)
        before += len(sequence)
    return np.concatenate(rows)

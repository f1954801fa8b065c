"""The network as a function of theta: ``predict``, ``states`` and ``loss_and_grad``.

Everything that trains a network, whatever the optimiser, calls the one
:meth:`Network.loss_and_grad`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numba_lstm.cpu import parallel
from numba_lstm.cpu.layer import pack_inputs
from numba_lstm.cpu.matmul import panel_width, scratch_size
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch


class Workspace(NamedTuple):
    """Buffers of the kernels, for S time steps, B sequences and Q outputs.

    A prediction keeps nothing: its gates, tanh_c and h have B rows, c has 2B.

    Attributes
    ----------
    x : ndarray of shape (S, F + 1)
        Standardised inputs and a column of ones.
    gates : ndarray of shape (S, 4H)
        The activated gates i, f, g, o; after the backward pass da.
    c, tanh_c, h : ndarray of shape (S, H)
        Cell, its hyperbolic tangent, hidden state.
    head_row : ndarray of int64 of shape (Q,)
        Packed row of the hidden state behind each output.
    out, d_out : ndarray of shape (Q, K)
        Outputs and the loss's gradient with respect to them.
    dh, dc : ndarray of shape (B, H)
        Running gradients of the backward pass.
    zeros : ndarray of shape (H,)
        The cell before the first step.
    packed_W_x, packed_W_h, packed_W_hT, packed_W_yT : ndarray
        Weights in panels, the last two transposed.
    block_loss : ndarray of float64 of shape (B,)
        Loss of each block of sequences.
    scratch : ndarray
        Room for the weight gradient's products, a row for each group of columns.
    """

    x: np.ndarray
    gates: np.ndarray
    c: np.ndarray
    tanh_c: np.ndarray
    h: np.ndarray
    head_row: np.ndarray
    out: np.ndarray
    d_out: np.ndarray
    dh: np.ndarray
    dc: np.ndarray
    zeros: np.ndarray
    packed_W_x: np.ndarray
    packed_W_h: np.ndarray
    packed_W_hT: np.ndarray
    packed_W_yT: np.ndarray
    block_loss: np.ndarray
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
        self._workspaces: dict[str, tuple[tuple[int, int, int], Workspace]] = {}

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
            If theta or grad is not a contiguous vector of the network's size and dtype.
        """
        if grad is None:
            grad = np.empty_like(theta)
        self._check_vector(theta, "theta")
        self._check_vector(grad, "grad")
        work, block_rows = self._load(batch, "train")
        views = self.layout.views
        loss = parallel.run(
            parallel.loss_and_grad,
            self.n_threads,
            *(views(theta), views(grad), work, batch.starts, block_rows, self.per_step),
            *(batch.y, batch.weight, self.loss, self.loss_parameter),
        )
        return float(loss), grad

    def predict(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Outputs (Q, K) of a batch: Q = B, or with ``per_step`` its S time steps."""
        self._check_vector(theta, "theta")
        work, block_rows = self._load(batch, "predict")
        arguments = (self.layout.views(theta), work, batch.starts, block_rows, self.per_step)
        parallel.run(parallel.predict, self.n_threads, *arguments)
        return work.out[: self._n_outputs(batch)].copy()

    def states(self, theta: np.ndarray, batch: Batch) -> States:
        """Hidden states, cells and gates of a batch at every time step."""
        self._check_vector(theta, "theta")
        work, block_rows = self._load(batch, "states")
        arguments = (self.layout.views(theta), work, batch.starts, block_rows)
        parallel.run(parallel.states, self.n_threads, *arguments)
        rows = work.head_row[: batch.starts[-1]]
        return States(work.h[rows], work.c[rows], work.gates[rows])

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

    def _n_outputs(self, batch):
        return int(batch.starts[-1]) if self.per_step else batch.starts.size - 1

    def _load(self, batch, purpose):
        """Make room for a batch and put its standardised inputs there."""
        room = (int(batch.starts[-1]), batch.starts.size - 1, self._n_outputs(batch))
        held, work = self._workspaces.get(purpose, ((0, 0, 0), None))
        if work is None or any(has < needs for has, needs in zip(held, room, strict=True)):
            work = self._allocate(*room, purpose)
            self._workspaces[purpose] = room, work
        block_rows = block_size(batch.starts.size - 1)
        scale = (self.mean, self.inverse_scale)
        pack_inputs(batch.values, batch.starts, *scale, block_rows, work.x)
        return work, block_rows

    def _allocate(self, S, B, Q, purpose):
        """Make a workspace; what its purpose does not need has no rows."""
        (F, H, K), dtype = self.layout, self.dtype
        trains, predicts = purpose == "train", purpose == "predict"
        steps = B if predicts else S
        n_panels = 1 + 4 * H // panel_width(dtype.itemsize) if trains else 0
        return Workspace(
            x=np.empty((S, F + 1), dtype),
            gates=np.empty((steps, 4 * H), dtype),
            c=np.empty((2 * B if predicts else S, H), dtype),
            tanh_c=np.empty((steps, H), dtype),
            h=np.empty((steps, H), dtype),
            head_row=np.empty(0 if predicts else Q if trains else S, np.int64),
            out=np.empty((Q, K), dtype),
            d_out=np.empty((Q if trains else 0, K), dtype),
            dh=np.empty((B if trains else 0, H), dtype),
            dc=np.empty((B if trains else 0, H), dtype),
            zeros=np.zeros(H, dtype),
            packed_W_x=np.empty((F + 1) * 4 * H, dtype),
            packed_W_h=np.empty(H * 4 * H, dtype),
            packed_W_hT=np.empty(H * 4 * H if trains else 0, dtype),
            packed_W_yT=np.empty(H * K, dtype),
            block_loss=np.empty(B, np.float64),
            scratch=np.empty((n_panels, scratch_size(dtype)), dtype),
        )


def block_size(n_sequences: int) -> int:
    """Sequences in a block: from the batch alone, so that threads change nothing.

    Blocks of nearly one size, two at the least, then a multiple of four, and 32
    sequences at the most: small batches keep two cores busy, large ones more.
    """
    n_blocks = 2 if n_sequences <= 32 else 4 * -(-n_sequences // 128)
    return -(-n_sequences // n_blocks)

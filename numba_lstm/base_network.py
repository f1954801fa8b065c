"""What the networks of all devices have in common: a loss and a gradient of theta."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from numba_lstm.cpu.allocation import NOTHING, Drops
from numba_lstm.parameters import Layout
from numba_lstm.sequences import Batch
from numba_lstm.states import State, States
from numba_lstm.windows import recomputed_loss_and_grad


class BaseNetwork(ABC):
    """LSTM layers, pooling and a head, as functions of theta.

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
    dropout : Drops
        Which shares are dropped in training.
    recomputes : bool
        Whether a gradient keeps the states of some steps only, and computes the others again:
        see windows.py.

    Attributes
    ----------
    room : int
        Bytes that the larger buffers of one call may take in a prediction.
    """

    room: int

    # What a GPU's recurrence rounds to before it multiplies: see cuda/kinds.py.
    precision: str = ""

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
        self.dropout = dropout
        self.recomputes = recomputes
        self._draws = any(layout.zoneout)

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
        if generator is not None and self.draws:
            seed = int(generator.integers(1, 2**62))
        if self.recomputes and batch.lengths[0] > 1:
            loss = recomputed_loss_and_grad(self, theta, batch, grad, seed, state, end)
        else:
            loss = self.loss_and_grad_of_window(theta, batch, grad, seed, state=state, end=end)
        return loss, grad

    @property
    def draws(self) -> bool:
        """Whether training draws anything: what is dropped, or what stays as it was."""
        return self.dropout != NOTHING or any(self.layout.zoneout)

    @abstractmethod
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

    @abstractmethod
    def predict(self, theta: np.ndarray, batch: Batch, state: State | None = None) -> np.ndarray:
        """Outputs (Q, K) of a batch: Q = B, or with ``per_step`` its S time steps.

        ``state`` is what the sequences begin with, and receives what they end with.
        """

    @abstractmethod
    def attention(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """Attention weights (S,) of a batch's steps, which sum to 1 for each sequence."""

    @abstractmethod
    def advance(
        self, theta: np.ndarray, batch: Batch, state: State, seed: int = 0, first_step: int = 0
    ) -> None:
        """Move the state of a batch's sequences on by its steps.

        The arguments are those of :meth:`loss_and_grad_of_window`.
        """

    @abstractmethod
    def states(self, theta: np.ndarray, batch: Batch, layer: int = -1) -> States:
        """Hidden states, cells and gates of one layer at every time step of a batch."""

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

    def masks(self, drops: Drops, B: int, seed: int) -> Iterator[tuple[int, str, np.ndarray]]:
        """Yield number of the cell, "x" or "h", and mask (B, width), of what is dropped.

        One mask a sequence, the same at all its steps (Gal and Ghahramani, 2016). The masks of
        the first sequences do not depend on how many there are: those that end early leave the
        others theirs.
        """
        if drops == NOTHING:
            return
        for k, cell in enumerate(self.layout.cells):
            between = drops.between if cell.layer else drops.inputs
            second = k > 0 and self.layout.cells[k - 1].layer == cell.layer
            shares = (0 if second else between), drops.recurrent
            widths = cell.n_inputs, cell.output_size
            for which, (share, width) in enumerate(zip(shares, widths, strict=True)):
                if share:
                    generator = np.random.default_rng((seed, k, which))
                    drawn = generator.random((B, width)) >= share
                    yield k, "xh"[which], drawn / (1 - share)

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

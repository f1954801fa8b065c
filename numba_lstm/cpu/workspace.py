"""What the kernels take: inputs, targets, and the buffers that they work in."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from numba_lstm.cpu.allocation import Needs, Workspace, allocate
from numba_lstm.parameters import Layout

# A thread keeps the buffers of its last prediction, if they are small, for the next: to
# make new ones takes as long as to predict a sequence with a small network.
_KEPT_BYTES = 2**22
_kept = threading.local()
_KEPT = {Needs("predict"), Needs("predict", given_state=True)}


class Inputs(NamedTuple):
    """A batch's inputs, as the kernels take them.

    Attributes
    ----------
    memory : ndarray of uint8
        The bytes of a batch's ``values``, float32 or float64.
    itemsize : int
        4 or 8: which of them.
    starts : ndarray of int64 of shape (B,)
        As in :class:`Batch`.
    ends : ndarray of int64 of shape (B + 1,)
        0, and the number of time steps of all sequences up to each one; the last is S.
    mean, inverse_scale : ndarray of float64 of shape (F,)
        Standardisation.
    decay : ndarray of float64 of shape (M,) or (0,)
        As in :class:`Batch`.
    """

    memory: np.ndarray
    itemsize: int
    starts: np.ndarray
    ends: np.ndarray
    mean: np.ndarray
    inverse_scale: np.ndarray
    decay: np.ndarray


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


class Buffers:
    """Workspaces of one network, made anew only for a larger batch.

    Parameters
    ----------
    layout : Layout
        The network's.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    """

    def __init__(self, layout: Layout, dtype: np.dtype, per_step: bool) -> None:
        self._key = layout, dtype, per_step
        self._held: dict[Needs, tuple] = {}

    def room(self, needs: Needs, S: int, B: int, Q: int, n_tasks: int) -> Workspace:
        """Return buffers for S time steps side by side, B sequences, Q outputs and the tasks."""
        sizes, shared = (S, B, Q, n_tasks), needs in _KEPT
        held: dict[Any, Any] = _kept.__dict__ if shared else self._held
        owner, has, work = held.get(needs, (None, (), None))
        if owner != self._key or any(a < b for a, b in zip(has, sizes, strict=True)):
            work = allocate(*self._key, needs, *sizes)
            if not shared or work.memory.nbytes <= _KEPT_BYTES:
                held[needs] = self._key, sizes, work
        return work

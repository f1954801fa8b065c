"""Long sequences in windows of time steps, with a state that goes on from one to the next.

Backpropagation through time keeps what every step has computed. Here it keeps the states
between windows instead, and computes each window again when its turn comes: memory for
about 2 sqrt(T) steps in place of T, for one more forward pass.

Reference: Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost",
2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from numba_lstm.sequences import Batch

if TYPE_CHECKING:
    from numba_lstm.base_network import BaseNetwork
    from numba_lstm.states import State


def windows(batch: Batch, n_steps: int, per_step: bool) -> Iterator[tuple[int, Batch]]:
    """Cut a batch with targets into windows of time steps.

    Parameters
    ----------
    batch : Batch
        The whole, of B sequences.
    n_steps : int
        Time steps of a window.
    per_step : bool
        Whether every time step has a target. If not, a target belongs to its sequence's last
        window; in the others it has no weight.

    Yields
    ------
    first_step : int
        The window's first time step.
    window : Batch
        The steps of those sequences, the first of the batch, that have any.
    """
    lengths, y, weight = batch.lengths, batch.y, batch.weight
    if y is None or weight is None:
        raise ValueError("This batch has no targets or no weights; a loss needs both.")
    begins = np.cumsum(lengths) - lengths
    for first in range(0, int(lengths[0]), n_steps):
        n = int(np.count_nonzero(lengths > first))
        steps = np.minimum(lengths[:n] - first, n_steps)
        if per_step:
            before = np.cumsum(steps) - steps
            rows = np.arange(steps.sum()) + np.repeat(begins[:n] + first - before, steps)
            part = y[rows], weight[rows]
        else:
            ends = lengths[:n] <= first + n_steps
            part = y[:n], np.where(ends, weight[:n], 0).astype(weight.dtype)
        yield first, Batch(batch.values, batch.starts[:n] + first, steps, *part, batch.decay)


def recomputed_loss_and_grad(
    network: BaseNetwork,
    theta: np.ndarray,
    batch: Batch,
    grad: np.ndarray,
    seed: int,
    state: State | None = None,
    end: State | None = None,
) -> float:
    """Loss and gradient of a batch, in windows of about sqrt(T) steps.

    Parameters
    ----------
    network : BaseNetwork
        With layers that read forward, and no pooling.
    theta, batch, grad, seed, state, end
        As for :meth:`BaseNetwork.loss_and_grad_of_window`.

    Returns
    -------
    float
        The loss.
    """
    n_steps = math.isqrt(int(batch.lengths[0]) - 1) + 1
    parts = list(windows(batch, n_steps, network.per_step))
    now = (
        network.first_state(theta, len(batch.lengths))
        if state is None
        else state.rows(slice(None))
    )
    begins = [state]
    for (first_step, part), (_, following) in itertools.pairwise(parts):
        network.advance(theta, part, now.first(len(part.lengths)), seed, first_step)
        begins.append(now.rows(slice(len(following.lengths))))
    grad[...] = 0
    total, window_grad, d_later = 0.0, np.empty_like(grad), None
    for (first_step, part), begin in zip(parts[::-1], begins[::-1], strict=True):
        n = len(part.lengths)
        d_state = network.no_state(n)
        if d_later is not None:
            d_state.put(slice(len(d_later.h[0])), d_later)
        last = end is not None and d_later is None
        total += network.loss_and_grad_of_window(
            *(theta, part, window_grad, seed),
            state=begin,
            end=now.first(n) if last else None,
            d_state=d_state,
            first_step=first_step,
        )
        grad += window_grad
        d_later = d_state
    if end is not None:
        end.put(slice(None), now)
    return total

"""Truncated backpropagation: states that go on from window to window and batch to batch.

Reference: Williams and Peng, "An Efficient Gradient-Based Algorithm for On-Line Training of
Recurrent Network Trajectories", Neural Computation 2(4), 1990.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.sequences import Batch
from numba_lstm.states import State
from numba_lstm.windows import windows


class Carrier:
    """Hands out the parts of batches that have an optimiser step of their own.

    Parameters
    ----------
    network : BaseNetwork
        What is trained.
    n_steps : int or None
        Time steps of a window; None for whole sequences.
    stateful : bool
        Whether the sequences of a batch go on from those of the batch before.
    """

    def __init__(self, network: BaseNetwork, n_steps: int | None, stateful: bool) -> None:
        self._network = network
        self._n_steps = n_steps
        self._stateful = stateful
        self._held: State | None = None

    def parts(
        self, theta: np.ndarray, batch: Batch, lengths: np.ndarray
    ) -> Iterator[tuple[Batch, float, State | None, State | None]]:
        """Yield a batch, or its windows.

        Parameters
        ----------
        theta : ndarray of shape (P,)
            The weights, of the moment.
        batch : Batch
            B sequences, in order of falling length.
        lengths : ndarray of int of shape (B,)
            Their lengths in the order in which they were asked for.

        Yields
        ------
        part : Batch
            Whose loss is to be made smaller.
        share : float
            What its loss adds to the batch's.
        state, end : State or None
            What its sequences begin with, and where to put what they end with: read once the
            next part is asked for.
        """
        if self._n_steps is None and not self._stateful:
            yield batch, 1.0, None, None
            return
        B, order = len(lengths), np.argsort(-lengths, kind="stable")
        now = None if self._held is None else self._held.rows(order)
        n_steps = self._n_steps or int(batch.lengths[0])
        total = int(batch.lengths.sum())
        for _, part in windows(batch, n_steps, self._network.per_step):
            n, share = len(part.lengths), 1.0
            state = None if now is None else now.rows(slice(n))
            weight: Any = part.weight
            if not weight.any():  # nothing to learn from, but something to remember
                end = self._network.first_state(theta, n) if state is None else state
                self._network.advance(theta, part, end)
            else:
                if self._network.per_step:
                    # As if the window were all there is: no smaller steps for more windows.
                    share = int(part.lengths.sum()) / total
                    part = part._replace(weight=weight / weight.dtype.type(share))
                end = self._network.no_state(n)
                yield part, share, state, end
            now = self._network.no_state(B) if now is None else now
            now.put(slice(n), end)
        if self._stateful and now is not None:
            back = np.empty_like(order)
            back[order] = np.arange(B)
            self._held = now.rows(back)

"""The loss of all data at once with an L2 penalty, as minimisers outside of the loop see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.training.data import Dataset
from numba_lstm.training.loop import total_loss


class PenalisedLoss:
    """Mean loss over a dataset plus alpha / 2 times the sum of squared weights, in float64.

    Threads may call it at the same time: each call has a network of its own. What weight decay
    leaves alone, biases, norms and initial states, is not in the penalty.

    Parameters
    ----------
    make_network : callable
        Returns a new network in float64.
    data : Dataset
        Sequences, targets and weights; gathered here, once, where kernels cannot read them as
        they lie.
    alpha : float
        Weight of the penalty.

    Attributes
    ----------
    layout : Layout
        The network's.
    alphas : ndarray of shape (layout.size,)
        alpha where the penalty counts, else 0.
    parts : list of (ndarray, Batch)
        Indices of sequences, and batches of them. The weights are such that the mean loss is
        the sum of the batches' losses.
    """

    def __init__(
        self, make_network: Callable[[], BaseNetwork], data: Dataset, alpha: float
    ) -> None:
        self._make = make_network
        self._idle: list[BaseNetwork] = []
        with self.network() as network:
            self.layout = network.layout
        self.alphas = alpha * self.layout.decay_mask(np.dtype(np.float64))
        self.parts = []
        for index in data.parts():
            batch = data.batch(index, np.dtype(np.float64))
            weight = np.asarray(batch.weight) * (len(index) / len(data))
            self.parts.append((index, batch._replace(weight=weight)))

    @contextmanager
    def network(self) -> Iterator[BaseNetwork]:
        """Lend a network that no other thread has at the same time."""
        try:
            network = self._idle.pop()
        except IndexError:
            network = self._make()
        try:
            yield network
        finally:
            self._idle.append(network)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the networks out, which a process makes for its own number of threads."""
        return vars(self) | {"_idle": []}

    def penalty(self, theta: np.ndarray) -> float:
        """Half of alpha times the sum of squares of the weights that decay."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(0.5 * (self.alphas * theta) @ theta)

    def value(self, theta: np.ndarray) -> float:
        """Loss of a vector (layout.size,) of weights; the forward pass only."""
        total = self.penalty(theta)
        with self.network() as network:
            for _, batch in self.parts:
                out = network.predict(theta, batch)
                total += total_loss(network, out, batch.y, batch.weight)
        return total

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss of a vector (layout.size,) of weights, and its gradient, a new array."""
        total = self.penalty(theta)
        part = np.empty_like(theta)
        with np.errstate(over="ignore", invalid="ignore"), self.network() as network:
            grad = self.alphas * theta
            for _, batch in self.parts:
                loss, _ = network.loss_and_grad(theta, batch, part)
                total += loss
                grad += part
        return total, grad

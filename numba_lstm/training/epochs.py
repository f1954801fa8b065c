"""What runs the batches of an epoch, where theta and the optimiser's moments lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.sequences import Room
from numba_lstm.training.carrier import Carrier
from numba_lstm.training.data import Dataset
from numba_lstm.training.optimizers import Optimizer

if TYPE_CHECKING:
    from numba_lstm.training.loop import LoopSettings


class Epochs(Protocol):
    """What runs epochs."""

    def run(self, order: np.ndarray, rates: Sequence[float]) -> float:
        """Run one epoch.

        Parameters
        ----------
        order : ndarray of int of shape (n,)
            The sequences, in the order in which batches take them.
        rates : sequence of float
            The learning rate of each batch.

        Returns
        -------
        float
            Mean loss over the epoch's sequences, or NaN as soon as a loss or a gradient is not
            finite.

        Notes
        -----
        theta, and the moments and ``n_steps`` of the optimiser, are those of the last step when
        it returns, and when a KeyboardInterrupt, or what ``on_batch`` raises, leaves it.
        """


class HostEpochs:
    """Runs epochs on the arrays of the host, one batch after the other.

    Parameters
    ----------
    network : BaseNetwork
        The function to minimise.
    theta : ndarray of shape (P,)
        The weights; moved.
    optimizer : Optimizer
        Moves them.
    generator : numpy.random.Generator
        Draws what is dropped.
    training : Dataset
        The data.
    settings : LoopSettings
        Of which ``batch_size``, ``tbptt_steps`` and ``stateful`` count.
    on_batch : callable
        Called before each batch; what it raises ends the epoch there.
    """

    def __init__(
        self,
        network: BaseNetwork,
        theta: np.ndarray,
        optimizer: Optimizer,
        generator: np.random.Generator,
        training: Dataset,
        settings: LoopSettings,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._network = network
        self._theta = theta
        self._grad = np.empty_like(theta)
        self._optimizer = optimizer
        self._generator = generator
        self._training = training
        self._settings = settings
        self._on_batch = on_batch
        self._room = Room()

    def run(self, order: np.ndarray, rates: Sequence[float]) -> float:
        """Run one epoch: see :class:`Epochs`."""
        network, theta, grad, total = self._network, self._theta, self._grad, 0.0
        settings, training = self._settings, self._training
        carrier = Carrier(network, settings.tbptt_steps, settings.stateful)
        batches = training.batches(order, settings.batch_size, network.dtype, self._room)
        for (batch, lengths), rate in zip(batches, rates, strict=True):
            self._on_batch()
            for part, share, state, end in carrier.parts(theta, batch, lengths):
                loss, _ = network.loss_and_grad(
                    theta, part, grad, self._generator, state=state, end=end
                )
                if not math.isfinite(loss) or not self._optimizer.step(theta, grad, rate):
                    return math.nan
                total += share * loss * len(lengths)
        return total / len(order)


def make_epochs(network: Any, *arguments: Any) -> Epochs:
    """Return what runs the epochs of a network.

    A network on another device says by a method ``epochs`` what runs its own; what goes in
    windows, or goes on from batch to batch, is always run from here.

    Parameters
    ----------
    network : BaseNetwork
        The function to minimise.
    *arguments
        Those of :class:`HostEpochs` that follow, or of ``network.epochs``.
    """
    settings: LoopSettings = arguments[4]
    carries = settings.stateful or settings.tbptt_steps is not None or network.recomputes
    if carries or not hasattr(network, "epochs"):
        return HostEpochs(network, *arguments)
    return network.epochs(*arguments)

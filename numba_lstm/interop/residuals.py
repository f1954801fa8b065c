"""A squared error as residuals, and their derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.losses import SQUARED_ERROR
from numba_lstm.training.penalised import PenalisedLoss


class LeastSquares:
    """Residuals half the sum of whose squares is a penalised loss.

    Parameters
    ----------
    loss : PenalisedLoss
        Of a squared error.

    Raises
    ------
    ValueError
        If it is of another loss.
    """

    def __init__(self, loss: PenalisedLoss) -> None:
        with loss.network() as network:
            if network.loss != SQUARED_ERROR:
                raise ValueError(
                    "Residuals are for loss='squared_error': half the sum of their squares has to "
                    "be the loss. Minimise the function itself for another one."
                )
            self._per_step = network.per_step
        self._loss = loss
        self._parts: list[Any] = loss.parts
        self._decaying = np.flatnonzero(loss.alphas)

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """Residuals (M,) of theta (P,): of the outputs in the order of X, then the penalty."""
        parts = []
        with self._loss.network() as network:
            for _, batch in self._parts:
                counts = batch.weight > 0
                errors = network.predict(theta, batch)[counts] - batch.y[counts]
                errors[np.isnan(batch.y[counts])] = 0  # what is not known
                parts.append(errors * self._factors(batch)[counts])
        return np.append(self._in_order(parts).ravel(), self._roots * theta[self._decaying])

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Derivatives (M, P) of the residuals of theta (P,).

        Each row is the gradient of a loss: that of one output of one sequence whose targets are
        the outputs themselves, so that nothing else of it counts, but for this one, which lies
        K / 2 above its target: there K such errors, averaged and squared, have a slope of 1.
        """
        K = self._loss.layout.n_outputs
        # Rows of the whole, in the order of X, for what the batches have in theirs.
        counted = [int((batch.weight > 0).sum()) for _, batch in self._parts]
        n = sum(counted)
        place = np.empty(n, np.int64)
        numbers = np.split(np.arange(n), np.cumsum(counted)[:-1])
        place[self._in_order(numbers)] = np.arange(n)
        rows = np.zeros((n * K + len(self._decaying), theta.size))
        done = 0
        with self._loss.network() as network:
            for _, batch in self._parts:
                factors = self._factors(batch)
                outs, ends = network.predict(theta, batch), np.arange(len(batch.lengths) + 1)
                if self._per_step:
                    ends = np.append(0, np.cumsum(batch.lengths))
                for i in range(len(batch.lengths)):
                    one = batch._replace(
                        starts=batch.starts[i : i + 1], lengths=batch.lengths[i : i + 1]
                    )
                    out, weight = outs[ends[i] : ends[i + 1]], np.zeros(ends[i + 1] - ends[i])
                    for q in np.flatnonzero(batch.weight[ends[i] : ends[i + 1]] > 0):
                        weight[q] = 1
                        for k in np.flatnonzero(~np.isnan(batch.y[ends[i] + q])):
                            y = out.copy()
                            y[q, k] -= 0.5 * K
                            row = rows[place[done] * K + k]
                            network.loss_and_grad(theta, one._replace(y=y, weight=weight), row)
                            row *= factors[ends[i] + q, 0]
                        weight[q] = 0
                        done += 1
        rows[n * K + np.arange(len(self._decaying)), self._decaying] = self._roots
        return rows

    @property
    def _roots(self):
        return np.sqrt(self._loss.alphas[self._decaying])

    def _factors(self, batch):
        """What an error is multiplied by, (Q, 1)."""
        return np.sqrt(2 * batch.weight / self._loss.layout.n_outputs)[:, np.newaxis]

    def _in_order(self, parts):
        """Rows of the batches' targets that have a weight, in the order of X."""
        owners = []
        for index, batch in self._parts:
            owner = np.repeat(index, batch.lengths) if self._per_step else index
            owners.append(owner[batch.weight > 0])
        return np.concatenate(parts)[np.argsort(np.concatenate(owners), kind="stable")]

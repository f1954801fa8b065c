"""The loop over epochs and batches."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from numba_lstm.losses import best_constant, loss_rows
from numba_lstm.network import Network
from numba_lstm.training.data import Dataset
from numba_lstm.training.optimizers import Optimizer
from numba_lstm.training.schedules import Schedule


class LoopSettings(NamedTuple):
    """What the loop can be told, under the estimators' names."""

    max_iter: int
    batch_size: int
    shuffle: bool
    learning_rate: str
    learning_rate_init: float
    early_stopping: bool
    n_iter_no_change: int
    tol: float
    verbose: bool


@dataclass
class History:
    """What happened in a fit.

    Attributes
    ----------
    theta : ndarray of shape (P,)
        The weights it ended with.
    loss_curve : list of float
        Mean training loss of each epoch.
    validation_scores : list of float
        Score on the validation data after each epoch, if there are any.
    diverged : bool
        Whether it stopped because the loss or the gradient was not finite.
    """

    theta: np.ndarray
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    diverged: bool = False


def train(
    network: Network,
    theta: np.ndarray,
    optimizer: Optimizer,
    generator: np.random.Generator,
    training: Dataset,
    validation: Dataset | None,
    settings: LoopSettings,
    on_epoch_begin: Callable[[], None] = lambda: None,
    on_epoch_end: Callable[[History], bool] = lambda history: False,
) -> History:
    """Train until ``max_iter`` epochs are done or nothing improves any more.

    Parameters
    ----------
    network : Network
        The function to minimise.
    theta : ndarray of shape (P,)
        Where to begin; overwritten.
    optimizer : Optimizer
        Moves theta.
    generator : numpy.random.Generator
        Draws the order of the sequences.
    training, validation : Dataset
        The data; validation may be None.
    settings : LoopSettings
        When to stop, and so on.
    on_epoch_begin, on_epoch_end : callable
        Called before and after each epoch, the latter with the history; it stops
        the fit by returning True.

    Returns
    -------
    History
        With early stopping, its theta is that of the best validation score; after a
        divergence, that of the best epoch before.

    Warns
    -----
    ConvergenceWarning
        If the loss or its gradient stops being finite.
    """
    history = History(theta)
    schedule = Schedule(
        settings.learning_rate,
        settings.learning_rate_init,
        patience=max(1, settings.n_iter_no_change // 2),
    )
    # The weights to go back to, and how good they were: a score, greater is better.
    best_theta, best = theta.copy(), -math.inf
    reference, waited = -math.inf, 0
    null_loss = None if validation is None else _null_loss(network, validation)
    for epoch in range(settings.max_iter):
        began = time.perf_counter()
        on_epoch_begin()
        loss = _epoch(network, theta, optimizer, generator, training, schedule, settings, epoch)
        if not math.isfinite(loss):
            history.diverged = True
            break
        history.loss_curve.append(loss)
        score = -loss
        if validation is not None:
            score = 1.0 - _mean_loss(network, theta, validation) / null_loss
            history.validation_scores.append(score)
        if score > best:
            best = score
            best_theta[...] = theta
        improved = score > reference + settings.tol
        reference = score if improved else reference
        waited = 0 if improved else waited + 1
        schedule.epoch_ended(improved)
        if settings.verbose:
            _report(epoch, settings.max_iter, history, time.perf_counter() - began)
        if on_epoch_end(history) or waited >= settings.n_iter_no_change:
            break
    if history.diverged or (settings.early_stopping and validation is not None):
        theta[...] = best_theta
    if history.diverged:
        warnings.warn(
            f"Training diverged in epoch {len(history.loss_curve) + 1}: the loss or its "
            "gradient is no longer finite. The weights of the best epoch before are kept. "
            "Try a smaller learning_rate_init, a smaller clip_norm, standardize=True, or "
            "dtype='float64'.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return history


def _epoch(network, theta, optimizer, generator, training, schedule, settings, epoch):
    """One pass over the training data; returns its mean loss, or NaN if it diverged."""
    order = generator.permutation(training.index) if settings.shuffle else training.index
    n, total = len(order), 0.0
    grad = np.empty_like(theta)
    for first in range(0, n, settings.batch_size):
        index = order[first : first + settings.batch_size]
        batch = training.batch(index, network.dtype)
        loss, _ = network.loss_and_grad(theta, batch, grad)
        rate = schedule.rate((epoch + first / n) / settings.max_iter)
        if not math.isfinite(loss) or not optimizer.step(theta, grad, rate):
            return math.nan
        total += loss * len(index)
    return total / n


def _mean_loss(network, theta, data):
    """Mean loss over a dataset."""
    total = 0.0
    for index in data.parts():
        batch = data.batch(index, network.dtype)
        total += _batch_loss(network, network.predict(theta, batch), batch) * len(index)
    return total / len(data)


def _batch_loss(network, out, batch):
    scratch = np.empty_like(out)
    return loss_rows(
        *(network.loss, network.loss_parameter, out, batch.y, batch.weight, scratch),
        *(0, len(out)),
    )


def _null_loss(network, data):
    """Mean loss over a dataset of the best constant output, at least a tiny number."""
    batches = [data.batch(index, network.dtype) for index in data.parts()]
    y = np.concatenate([batch.y for batch in batches])
    # A batch's weights make the mean over itself: back to the mean over all data.
    weight = np.concatenate([b.weight * ((b.starts.size - 1) / len(data)) for b in batches])
    weight = weight.astype(network.dtype)
    constant = best_constant(
        network.loss, float(network.loss_parameter), y, weight, network.layout.n_outputs
    )
    out = np.tile(constant.astype(network.dtype), (len(y), 1))
    kind, parameter = network.loss, network.loss_parameter
    loss = loss_rows(kind, parameter, out, y, weight, np.empty_like(out), 0, len(out))
    return max(loss, np.finfo(network.dtype).eps)


def _report(epoch, max_iter, history, seconds):
    line = f"epoch {epoch + 1:>{len(str(max_iter))}}/{max_iter}  loss {history.loss_curve[-1]:.5f}"
    if history.validation_scores:
        line += f"  validation score {history.validation_scores[-1]:.5f}"
    print(f"{line}  {seconds:.2f} s", flush=True)

"""The loop over epochs and batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numba_lstm.base_network import BaseNetwork
from numba_lstm.losses import all_losses, null_output, sum_of_losses
from numba_lstm.sequences import Room
from numba_lstm.training.checkpoints import Checkpoint
from numba_lstm.training.data import Dataset
from numba_lstm.training.epochs import make_epochs
from numba_lstm.training.history import History, report, what_is_kept
from numba_lstm.training.optimizers import Optimizer
from numba_lstm.training.schedules import Schedule

# A validation loss beside that of a constant in the training part: errors of five standard
# deviations.
_BEYOND_MEASURE = 25.0


class LoopSettings(NamedTuple):
    """What the loop can be told, under the estimators' names."""

    max_iter: int
    batch_size: int
    shuffle: bool
    stateful: bool
    tbptt_steps: int | None
    learning_rate: str
    learning_rate_init: float
    early_stopping: bool
    n_iter_no_change: int
    tol: float
    verbose: bool


class Fit:
    """The course of a fit: what is asked before each epoch, and told after it.

    Whoever runs the epochs drives it, and can drive several fits side by side::

        while not fit.is_over:
            order, rates = fit.begins()
            loss = ...  # of an epoch that moves theta
            fit.epoch_ended(loss)
        history = fit.finish()

    Parameters
    ----------
    network : BaseNetwork
        The function to minimise.
    theta : ndarray of shape (P,)
        Where to begin; overwritten.
    optimizer : Optimizer
        Moves theta.
    generator : numpy.random.Generator
        Draws the order of the sequences, and what is dropped.
    training, validation : Dataset
        The data; validation may be None.
    settings : LoopSettings
        When to stop, and so on.
    continued : bool
        Whether theta has been trained before, and early stopping may go back to it.
    checkpoint : Checkpoint or None
        Where to write the progress, and what to go on from.
    on_epoch_begin, on_epoch_end : callable
        Called before and after each epoch, the latter with the history; it stops
        the fit by returning True.

    Attributes
    ----------
    is_over : bool
        Whether there is no further epoch.
    network, theta, optimizer, generator, training, settings
        As given: what an epoch needs.
    """

    def __init__(
        self,
        network: BaseNetwork,
        theta: np.ndarray,
        optimizer: Optimizer,
        generator: np.random.Generator,
        training: Dataset,
        validation: Dataset | None,
        settings: LoopSettings,
        continued: bool = False,
        checkpoint: Checkpoint | None = None,
        on_epoch_begin: Callable[[], None] = lambda: None,
        on_epoch_end: Callable[[History], bool] = lambda history: False,
    ) -> None:
        self.network = network
        self.theta = theta
        self.optimizer = optimizer
        self.generator = generator
        self.training = training
        self._validation = validation
        self.settings = settings
        self._checkpoint = checkpoint
        self._on_epoch_begin = on_epoch_begin
        self._on_epoch_end = on_epoch_end
        self._history = history = History(theta, theta.copy())
        self._schedule = Schedule(
            settings.learning_rate,
            settings.learning_rate_init,
            patience=max(1, settings.n_iter_no_change // 2),
        )
        self._stops_early = settings.early_stopping and validation is not None
        self._null_loss = 0.0
        if validation is not None:
            self._null_loss = loss_of_constant(network, validation)
        if continued and self._stops_early:
            history.best = self._skill()
        if checkpoint is not None and checkpoint.found is not None:
            progress = optimizer, generator, self._schedule
            checkpoint.check(history.state(*progress))
            checkpoint.check_length(settings.max_iter)
            history.resume(checkpoint.found, *progress)
        self.is_over = len(history.loss_curve) >= settings.max_iter

    def begins(self) -> tuple[np.ndarray, list[float]]:
        """Begin an epoch.

        Returns
        -------
        order : ndarray of int of shape (n,)
            The sequences, in the order in which batches are to take them.
        rates : list of float
            The learning rate of each batch.
        """
        self._began, self._start = time.perf_counter(), self.theta.copy()
        self._on_epoch_begin()
        settings, order = self.settings, self.training.index
        if settings.shuffle:
            order = self.generator.permutation(order)
        epoch, n = len(self._history.loss_curve), len(order)
        firsts = range(0, n, settings.batch_size)
        progress = ((epoch + first / n) / settings.max_iter for first in firsts)
        return order, [self._schedule.rate(share) for share in progress]

    def epoch_ended(self, loss: float) -> bool:
        """Take note of an epoch that has moved theta; return whether it was the last.

        Parameters
        ----------
        loss : float
            Its mean training loss; NaN if it diverged.
        """
        history, settings, theta = self._history, self.settings, self.theta
        self.is_over = True  # should something be raised below
        skill = 0.0
        if self._validation is not None and math.isfinite(loss):
            skill = self._skill()
        if not (math.isfinite(loss) and math.isfinite(skill) and is_sound(theta)):
            history.diverged = True
            return True
        history.loss_curve.append(loss)
        if self._validation is not None:
            history.validation_scores.append(skill)
        score = skill if self._stops_early else -loss
        # Without early stopping only a divergence goes back, and an epoch's loss speaks for
        # the weights that it began with: those it ended with may be what diverges next.
        if score > history.best:
            history.best = score
            history.best_theta[...] = theta if self._stops_early else self._start
        improved = score > history.reference + settings.tol
        history.reference = score if improved else history.reference
        history.waited = 0 if improved else history.waited + 1
        self._schedule.epoch_ended(improved)
        n_epochs = len(history.loss_curve)
        if settings.verbose:
            seconds = time.perf_counter() - self._began
            report(n_epochs - 1, settings.max_iter, history, seconds)
        if self._on_epoch_end(history) or history.waited >= settings.n_iter_no_change:
            return True
        if self._checkpoint is not None and self._checkpoint.is_due(n_epochs):
            progress = self.optimizer, self.generator, self._schedule
            self._checkpoint.write(history.state(*progress))
        self.is_over = n_epochs >= settings.max_iter
        return self.is_over

    def interrupted(self, interrupt: KeyboardInterrupt) -> None:
        """End with what theta is now, whole or not."""
        self.is_over = True
        self._history.diverged = not is_sound(self.theta)
        self._history.interrupt = interrupt.with_traceback(None)  # which would hold the data

    def finish(self) -> History:
        """Put the weights in place that the fit is to end with.

        Returns
        -------
        History
            With early stopping, its theta is that of the best validation score; after a
            divergence (the loss or its gradient stopped being finite), that from which the
            epoch of the least loss began, and there is a warning to hand on.
        """
        history = self._history
        if history.diverged or (self._stops_early and history.best > -math.inf):
            self.theta[...] = history.best_theta
        if history.diverged:
            self.optimizer.reset()  # its moments are those of the divergence
            history.warning = (
                f"Training diverged in epoch {len(history.loss_curve) + 1}: the loss or its "
                f"gradient is no longer finite. {what_is_kept('best epoch', history)} "
                "Try a smaller learning_rate_init, clip_norm or alpha, standardize=True, or "
                "dtype='float64'."
            )
        self._check_scores()
        return history

    def _check_scores(self):
        """Warn of validation data that cannot be of a kind with the training data.

        Of a few sequences, which happen to be alike, scores far below 0 mean nothing: the loss
        has to be beyond all measure in the training part's units, too.
        """
        history = self._history
        best = max(history.validation_scores, default=0.0)
        if history.warning is not None or self._null_loss == 0 or best > -1:
            return
        loss = (1 - best) * self._null_loss
        if loss > _BEYOND_MEASURE * loss_of_constant(self.network, self.training):
            history.warning = (
                f"The best validation score is {best:.3g}, where a constant has 0: the validation "
                "data are unlike the training data. If X_val and y_val were passed: a Pipeline "
                "transforms X_val only with transform_input, and TransformedTargetRegressor "
                "hands y_val on as it is."
            )

    def _skill(self):
        loss = mean_loss(self.network, self.theta, self._validation)
        return skill_score(loss, self._null_loss)


def train(fit: Fit, on_batch: Callable[[], None] = lambda: None) -> History:
    """Train until a fit is over.

    Parameters
    ----------
    fit : Fit
        Which has not begun.
    on_batch : callable
        Called before each batch; a KeyboardInterrupt that it raises ends the fit there.

    Returns
    -------
    History
        Interrupted (Ctrl-C), it ends with the batch, and has what was learned so far.
    """
    try:
        epochs = make_epochs(
            *(fit.network, fit.theta, fit.optimizer, fit.generator),
            *(fit.training, fit.settings, on_batch),
        )
        while not fit.is_over:
            fit.epoch_ended(epochs.run(*fit.begins()))
    except KeyboardInterrupt as interrupt:
        fit.interrupted(interrupt)
    return fit.finish()


def is_sound(theta):
    """Whether no weight is NaN, or so large that a product of two of them might overflow."""
    return max(theta.max(), -theta.min()) <= float(np.finfo(theta.dtype).max) ** 0.4


def mean_loss(network, theta, data):
    """Mean loss over a dataset."""
    total, room = 0.0, Room()
    for index in data.parts(max_steps=8192):  # small, for the sake of the workspace
        batch = data.batch(index, network.dtype, room)
        out = network.predict(theta, batch)
        total += total_loss(network, out, batch.y, batch.weight) * len(index)
    return total / len(data)


def skill_score(loss, null_loss):
    """Score of a loss beside the best constant's; minus the loss where that has none."""
    return 1.0 - loss / null_loss if null_loss > 0 else -loss


def total_loss(network, out, y, weight):
    """Weighted sum of the loss over outputs."""
    kind, parameter = network.loss, network.loss_parameter
    rows = np.empty(len(out), out.dtype)
    all_losses(kind, parameter, out, y, weight, np.empty_like(out), rows)
    return float(sum_of_losses(rows))


def loss_of_constant(network, data):
    """Mean loss over a dataset of a constant output; 0 if there is next to none."""
    y, weight = data.all_targets(network.dtype)
    constant = null_output(
        network.loss, float(network.loss_parameter), y, weight, network.layout.n_outputs
    )
    out = np.tile(constant.astype(network.dtype), (len(y), 1))
    loss = total_loss(network, out, y, weight)
    return loss if loss > np.finfo(network.dtype).eps else 0.0

"""The loop over epochs and batches."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from numba_lstm.losses import all_losses, null_output
from numba_lstm.network import Network
from numba_lstm.training.carrier import Carrier
from numba_lstm.training.checkpoints import Checkpoint, save_generator
from numba_lstm.training.data import Dataset
from numba_lstm.training.optimizers import Optimizer
from numba_lstm.training.schedules import Schedule


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


@dataclass
class History:
    """What happened in a fit, and what it has to remember.

    Attributes
    ----------
    theta : ndarray of shape (P,)
        The weights it ended with.
    best_theta : ndarray of shape (P,)
        The weights to go back to.
    loss_curve : list of float
        Mean training loss of each epoch.
    validation_scores : list of float
        Score on the validation data after each epoch, if there are any.
    best : float
        How good ``best_theta`` is: a score, greater is better.
    reference, waited : float, int
        The score to improve on, and for how many epochs none did.
    diverged : bool
        Whether it stopped because the loss or the gradient was not finite.
    interrupt : KeyboardInterrupt or None
        What it was interrupted by.
    """

    theta: np.ndarray
    best_theta: np.ndarray
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    best: float = -math.inf
    reference: float = -math.inf
    waited: int = 0
    diverged: bool = False
    interrupt: KeyboardInterrupt | None = None

    def state(
        self, optimizer: Optimizer, generator: np.random.Generator, schedule: Schedule
    ) -> dict[str, Any]:
        """Return all that the epochs to come depend on."""
        return {
            **{name: getattr(self, name) for name in _REMEMBERED},
            **{name: getattr(optimizer, name) for name in _OF_THE_OPTIMIZER},
            "generator": save_generator(generator),
            "schedule": schedule.state,
        }

    def resume(
        self,
        state: dict[str, Any],
        optimizer: Optimizer,
        generator: np.random.Generator,
        schedule: Schedule,
    ) -> None:
        """Go back to what :meth:`state` returned."""
        for owner, names in ((self, _REMEMBERED), (optimizer, _OF_THE_OPTIMIZER)):
            for name in names:
                value = getattr(owner, name)
                if isinstance(value, np.ndarray):
                    value[...] = state[name]
                else:
                    setattr(owner, name, state[name])
        generator.bit_generator.state = state["generator"]
        schedule.state = tuple(state["schedule"])


_REMEMBERED = [
    *("theta", "best_theta", "loss_curve", "validation_scores"),
    *("best", "reference", "waited"),
]
_OF_THE_OPTIMIZER = "n_steps", "first_moment", "second_moment"


def train(
    network: Network,
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

    Returns
    -------
    History
        With early stopping, its theta is that of the best validation score; after a
        divergence, that from which the epoch of the least loss began. Interrupted (Ctrl-C),
        it ends with the batch, and has what was learned so far.

    Warns
    -----
    ConvergenceWarning
        If the loss or its gradient stops being finite.
    """
    history = History(theta, theta.copy())
    schedule = Schedule(
        settings.learning_rate,
        settings.learning_rate_init,
        patience=max(1, settings.n_iter_no_change // 2),
    )
    stops_early = settings.early_stopping and validation is not None
    null_loss = 0.0 if validation is None else loss_of_constant(network, validation)
    if continued and stops_early:
        history.best = skill_score(mean_loss(network, theta, validation), null_loss)
    if checkpoint is not None and checkpoint.found is not None:
        checkpoint.check(history.state(optimizer, generator, schedule))
        history.resume(checkpoint.found, optimizer, generator, schedule)
    try:
        for epoch in range(len(history.loss_curve), settings.max_iter):
            began, start = time.perf_counter(), theta.copy()
            on_epoch_begin()
            loss = _epoch(
                network, theta, optimizer, generator, training, schedule, settings, epoch
            )
            skill = 0.0
            if validation is not None and math.isfinite(loss):
                skill = skill_score(mean_loss(network, theta, validation), null_loss)
            if not (math.isfinite(loss) and math.isfinite(skill) and is_sound(theta)):
                history.diverged = True
                break
            history.loss_curve.append(loss)
            if validation is not None:
                history.validation_scores.append(skill)
            score = skill if stops_early else -loss
            # Without early stopping only a divergence goes back, and an epoch's loss speaks
            # for the weights that it began with: those it ended with may be what diverges next.
            if score > history.best:
                history.best = score
                history.best_theta[...] = theta if stops_early else start
            improved = score > history.reference + settings.tol
            history.reference = score if improved else history.reference
            history.waited = 0 if improved else history.waited + 1
            schedule.epoch_ended(improved)
            if settings.verbose:
                report(epoch, settings.max_iter, history, time.perf_counter() - began)
            if on_epoch_end(history) or history.waited >= settings.n_iter_no_change:
                break
            if checkpoint is not None and checkpoint.is_due(epoch + 1):
                checkpoint.write(history.state(optimizer, generator, schedule))
    except KeyboardInterrupt as interrupt:
        history.diverged = not is_sound(theta)
        history.interrupt = interrupt.with_traceback(None)  # which would hold the data
    if history.diverged or (stops_early and history.best > -math.inf):
        theta[...] = history.best_theta
    if history.diverged:
        optimizer.reset()  # its moments are those of the divergence
        warnings.warn(
            f"Training diverged in epoch {len(history.loss_curve) + 1}: the loss or its "
            "gradient is no longer finite. The weights of the best epoch before are kept. "
            "Try a smaller learning_rate_init, a smaller clip_norm, standardize=True, or "
            "dtype='float64'.",
            ConvergenceWarning,
            stacklevel=5,  # train, _fit, fit and scikit-learn's wrapper lie between
        )
    return history


def is_sound(theta):
    """Whether no weight is NaN, or so large that a product of two of them might overflow."""
    return np.abs(theta).max() <= float(np.finfo(theta.dtype).max) ** 0.4


def _epoch(network, theta, optimizer, generator, training, schedule, settings, epoch):
    """One pass over the training data; returns its mean loss, or NaN if it diverged."""
    order = generator.permutation(training.index) if settings.shuffle else training.index
    n, total = len(order), 0.0
    grad = np.empty_like(theta)
    carrier = Carrier(network, settings.tbptt_steps, settings.stateful)
    for first in range(0, n, settings.batch_size):
        index = order[first : first + settings.batch_size]
        batch = training.batch(index, network.dtype)
        rate = schedule.rate((epoch + first / n) / settings.max_iter)
        lengths = training.sequences.lengths[index]
        for part, share, state, end in carrier.parts(theta, batch, lengths):
            loss, _ = network.loss_and_grad(theta, part, grad, generator, state=state, end=end)
            if not math.isfinite(loss) or not optimizer.step(theta, grad, rate):
                return math.nan
            total += share * loss * len(index)
    return total / n


def mean_loss(network, theta, data):
    """Mean loss over a dataset."""
    total = 0.0
    for index in data.parts(max_steps=8192):  # small, for the sake of the workspace
        batch = data.batch(index, network.dtype)
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
    return float(rows.sum(dtype=np.float64))


def loss_of_constant(network, data):
    """Mean loss over a dataset of a constant output; 0 if there is next to none."""
    y, weight = data.all_targets(network.dtype)
    constant = null_output(
        network.loss, float(network.loss_parameter), y, weight, network.layout.n_outputs
    )
    out = np.tile(constant.astype(network.dtype), (len(y), 1))
    loss = total_loss(network, out, y, weight)
    return loss if loss > np.finfo(network.dtype).eps else 0.0


def report(epoch, max_iter, history, seconds):
    """Print a line about an epoch that has ended."""
    line = f"epoch {epoch + 1:>{len(str(max_iter))}}/{max_iter}  loss {history.loss_curve[-1]:.5f}"
    if history.validation_scores:
        line += f"  validation score {history.validation_scores[-1]:.5f}"
    print(f"{line}  {seconds:.2f} s", flush=True)

"""Training by L-BFGS: SciPy's minimiser on the loss of all data at once."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from numba_lstm._blas import one_blas_thread
from numba_lstm.training.data import Dataset
from numba_lstm.training.history import History, report, what_is_kept
from numba_lstm.training.loop import is_sound, loss_of_constant, mean_loss, skill_score
from numba_lstm.training.penalised import PenalisedLoss


class LbfgsSettings(NamedTuple):
    """What the minimiser can be told, under the estimators' names."""

    max_iter: int
    tol: float
    verbose: bool


def train_by_lbfgs(
    loss: PenalisedLoss,
    theta: np.ndarray,
    validation: Dataset | None,
    settings: LbfgsSettings,
    on_epoch_begin: Callable[[], None] = lambda: None,
    on_epoch_end: Callable[[History], bool] = lambda history: False,
    on_batch: Callable[[], None] = lambda: None,
) -> History:
    """Minimise until ``max_iter`` iterations are done or the gradient is small.

    L-BFGS-B (Byrd, Lu, Nocedal and Zhu 1995), without bounds; an iteration is an epoch to the
    history and the callbacks.

    Parameters
    ----------
    loss : PenalisedLoss
        The function to minimise.
    theta : ndarray of shape (P,)
        Where to begin, float32 or float64; overwritten by each iteration.
    validation : Dataset or None
        What to compute a score on after each iteration; nothing depends on it.
    settings : LbfgsSettings
        The most iterations, the largest element of the gradient to end at, and whether to
        print a line after each iteration.
    on_epoch_begin, on_epoch_end, on_batch : callable
        As in :mod:`numba_lstm.training.loop`; a batch is all data, each time that the loss is
        asked for.

    Returns
    -------
    History
        Its theta is that of the last iteration. The loss curve has the mean loss after each,
        without the penalty: one value at least, that of the first weights where nothing is
        to be gained. There is a warning to hand on if the loss or its gradient stopped being
        finite, or a line search failed.
    """
    history = History(theta, theta.copy())
    null_loss = 0.0
    if validation is not None:
        with loss.network() as network:
            null_loss = loss_of_constant(network, validation)
    began: float | None = None
    told_to_stop = False

    def evaluate(x):
        nonlocal began
        if began is None:
            began = time.perf_counter()
            on_epoch_begin()
        on_batch()
        value, grad = loss.value_and_grad(x)
        if not (math.isfinite(value) and np.isfinite(grad).all()):
            raise FloatingPointError
        return value, grad

    def end_iteration(intermediate_result):
        """SciPy goes by the argument's name."""
        nonlocal began, told_to_stop
        x = intermediate_result.x
        skill = 0.0
        if validation is not None:
            with loss.network() as network:
                skill = skill_score(mean_loss(network, x, validation), null_loss)
        with np.errstate(over="ignore"):
            moved = x.astype(theta.dtype)
        if not (is_sound(moved) and math.isfinite(skill)):
            raise FloatingPointError
        theta[...] = moved
        history.loss_curve.append(float(intermediate_result.fun) - loss.penalty(x))
        if validation is not None:
            history.validation_scores.append(skill)
        if settings.verbose:
            n = len(history.loss_curve)
            report(n - 1, settings.max_iter, history, time.perf_counter() - began)
        began = None
        told_to_stop = on_epoch_end(history)
        if told_to_stop:
            raise StopIteration

    try:
        # The minimiser's many small products gain nothing from threads, which wait in the way of
        # the kernels': on two busy cores an iteration took 40 ms and more with them, mostly
        # below 2 ms without. And its sums do not depend on how many there are.
        with one_blas_thread:
            found = minimize(
                *(evaluate, theta.astype(np.float64)),
                method="L-BFGS-B",
                jac=True,
                callback=end_iteration,
                options={"maxiter": settings.max_iter, "maxfun": math.inf, "gtol": settings.tol},
            )
        if not history.loss_curve:  # one iteration, which found nothing to do
            with contextlib.suppress(StopIteration):
                end_iteration(OptimizeResult(x=found.x, fun=found.fun))
    except KeyboardInterrupt as interrupt:
        history.interrupt = interrupt.with_traceback(None)  # which would hold the data
    except FloatingPointError:
        history.diverged = True
        history.warning = (
            f"Training diverged in iteration {len(history.loss_curve) + 1}: the loss or its "
            f"gradient is no longer finite. {what_is_kept('iteration', history)} "
            "Try a smaller alpha, or standardize=True."
        )
    else:
        if found.status == 2 and not told_to_stop:
            history.warning = (
                f"L-BFGS ended in iteration {found.nit + 1}, where no step made the loss less "
                f"({found.message}). The weights of the iteration before are kept. A loss with "
                "kinks is for another solver; else tol may be too small for the rounding, or X "
                "or y too far from 1 (standardize=True)."
            )
    return history

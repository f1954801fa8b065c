"""A fit in three parts, so that several can be prepared first and trained at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from numba_lstm._warning import warn
from numba_lstm.backend import check_precision, resolve_device
from numba_lstm.estimators._callbacks import FitTasks
from numba_lstm.estimators.checks import check_parameters
from numba_lstm.estimators.held_out import NOTHING, HeldOut
from numba_lstm.estimators.targets import Targets

if TYPE_CHECKING:
    from numba_lstm.training.checkpoints import Checkpoint
    from numba_lstm.training.history import History
    from numba_lstm.training.loop import Fit, LoopSettings


class Job:
    """One fit: made, all is checked and drawn; ``train`` trains; ``end`` fits the estimator.

    Attributes are set only by ``end``, so that an error leaves the estimator as it was.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        What is to be fitted.
    X, y, sample_weight, times
        As in ``fit``.
    held_out : HeldOut
        What there is of validation data.
    continued : bool
        Whether to go on from the weights of the fit before.
    partial : bool
        Whether it is one epoch without callbacks and validation.
    reference : Targets or None
        The classes, where they are known beforehand.

    Raises
    ------
    ValueError, TypeError
        As ``fit``.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        times: Any = None,
        *,
        held_out: HeldOut = NOTHING,
        continued: bool = False,
        partial: bool = False,
        reference: Targets | None = None,
    ) -> None:
        self.estimator = estimator
        self._given = X, y, sample_weight
        self._tasks: FitTasks | None = None
        self._continued, self._partial = continued, partial
        self._max_iter = 1 if partial else estimator.max_iter
        dtype = check_parameters(estimator, continued)
        check_precision(estimator.device, dtype, estimator.matmul_precision)
        layout = estimator._make_layout(1, 1)
        resolve_device(estimator.device, layout, estimator.matmul_precision)
        self._checkpoint = None if partial else _checkpoint_of(estimator)
        random_state = _random_state_of(estimator, self._checkpoint)
        self._attributes, self._training, self._validation = estimator._training_data(
            *(X, y, sample_weight, times, None if partial else held_out, dtype, random_state),
            continued=continued,
            reference=reference,
        )
        standardises = estimator.standardize and not continued
        if partial and standardises and "classes_" not in self._attributes:
            _warn_of_a_single_target(self._training)
        names = "loss_curve_", "validation_scores_"
        self._before = {name: self._attributes[name] for name in names}
        self._settings = self._loop_settings(_batch_size_of(estimator, len(self._training)))
        parts = [data for data in (self._training, self._validation) if data is not None]
        for data in parts:
            data.mean_weight  # noqa: B018 - refuses data without any weight
        if self._checkpoint is not None:
            found = hashlib.blake2b(self._attributes["theta_"].tobytes())
            for data in parts:
                data.hash_into(found)
            self._checkpoint.claim(
                {"data (in the same dtype) and first weights": found.hexdigest()}
            )

    def train(self, on_batch: Callable[[], None] = lambda: None) -> History:
        """Train, in whatever thread.

        Parameters
        ----------
        on_batch : callable
            Called before each batch; a KeyboardInterrupt that it raises ends the training there.

        Returns
        -------
        History
            What :meth:`end` takes.
        """
        from numba_lstm.training.loop import train

        if self.estimator.solver == "lbfgs":
            return self.trained(self._train_by_lbfgs(on_batch))
        return self.trained(train(self.begin(), on_batch))

    def kind_on_device(self) -> Hashable | None:
        """Return what jobs have in common that a GPU can train side by side; None on the CPU."""
        estimator, attributes, settings = self.estimator, self._attributes, self._settings
        carries = settings.stateful or settings.tbptt_steps is not None
        if estimator.solver == "lbfgs" or carries or estimator.memory == "recompute":
            return None
        layout, targets = attributes["_layout"], attributes["_targets"]
        precision = estimator.matmul_precision
        if resolve_device(estimator.device, layout, precision) == "cpu":
            return None
        return (
            precision,
            *(layout, attributes["theta_"].dtype, targets.per_step, settings.batch_size),
            *(len(self._training), estimator._loss_and_parameter(targets)),
            *(estimator.dropout, estimator.input_dropout, estimator.recurrent_dropout),
        )

    def begin(self) -> Fit:
        """Return the course of the training, for whoever runs the epochs of several.

        Its history is for :meth:`trained`, and then for :meth:`end`.
        """
        from numba_lstm.training.loop import Fit

        attributes = self._attributes
        return Fit(
            self.estimator._network(attributes),
            attributes["theta_"],
            attributes["_optimizer"],
            attributes["_generator"],
            self._training,
            self._validation,
            self._settings,
            self._continued,
            self._checkpoint,
            **self._tell(),
        )

    def trained(self, history: History) -> History:
        """Tell the callbacks that the training has ended; return its history."""
        if self._tasks is not None:
            self._tasks.end(lambda: self._fitted(history))
        return history

    def _train_by_lbfgs(self, on_batch):
        from numba_lstm.training.lbfgs import LbfgsSettings, train_by_lbfgs

        estimator = self.estimator
        return train_by_lbfgs(
            estimator._penalised_loss(self._attributes, self._training),
            self._attributes["theta_"],
            self._validation,
            LbfgsSettings(self._max_iter, estimator.tol, bool(estimator.verbose)),
            on_batch=on_batch,
            **self._tell(),
        )

    def _tell(self):
        """What tells the callbacks of epochs, after telling them of the fit."""
        if self._partial:
            return {}
        self._tasks = tasks = FitTasks(self.estimator, self._max_iter, *self._given)
        return {
            "on_epoch_begin": tasks.begin_epoch,
            "on_epoch_end": lambda history: tasks.end_epoch(lambda: self._fitted(history)),
        }

    def end(self, history: History) -> None:
        """Give the estimator what was learned.

        Warns
        -----
        ConvergenceWarning
            If the training diverged, a line search failed, or the validation data are unlike the
            training data (not with "lbfgs", which does not go by them).

        Raises
        ------
        KeyboardInterrupt
            If that is how the training ended; the estimator is fitted all the same.
        """
        if history.warning is not None:
            warn(history.warning, ConvergenceWarning)
        attributes = self.estimator.__dict__
        if "feature_names_in_" not in self._attributes:
            attributes.pop("feature_names_in_", None)  # of an earlier fit
        attributes.update(self._fitted(history))
        if history.interrupt is not None:
            raise history.interrupt
        if self._checkpoint is not None:
            self._checkpoint.remove()

    def _fitted(self, history):
        """Attributes that a fit which ends with this history leaves."""
        curve = self._before["loss_curve_"] + history.loss_curve
        scores = (self._before["validation_scores_"] or []) + history.validation_scores
        return self._attributes | {
            "theta_": history.theta.copy(),
            "loss_curve_": curve,
            "n_iter_": len(curve),
            "loss_": curve[-1] if curve else np.nan,
            "best_loss_": min(curve, default=np.nan),
            "validation_scores_": scores or None,
            "best_validation_score_": max(scores, default=None),
        }

    def _loop_settings(self, batch_size: int) -> LoopSettings:
        from numba_lstm.training.loop import LoopSettings

        estimator, partial = self.estimator, self._partial
        return LoopSettings(
            max_iter=self._max_iter,
            batch_size=batch_size,
            shuffle=estimator.shuffle and not estimator.stateful,
            stateful=estimator.stateful,
            tbptt_steps=estimator.tbptt_steps,
            learning_rate="constant" if partial else estimator.learning_rate,
            learning_rate_init=estimator.learning_rate_init,
            early_stopping=estimator.early_stopping and not partial,
            n_iter_no_change=estimator.n_iter_no_change,
            tol=estimator.tol,
            verbose=bool(estimator.verbose),
        )


def _warn_of_a_single_target(training):
    """Warn of a first call of partial_fit that cannot tell in what units the targets are."""
    if training.n_counted() < 2:
        warn(
            "The first call of partial_fit has a single target, by which all later ones are "
            "standardised: their scale is taken for 1. Begin with some hundred, or set "
            "standardize=False.",
            UserWarning,
        )


def _checkpoint_of(estimator: Any) -> Checkpoint | None:
    """The file that the progress is written to, if one is asked for."""
    from numba_lstm.training.checkpoints import Checkpoint

    if estimator.checkpoint is None:
        return None
    checkpoint = Checkpoint(estimator.checkpoint, estimator.checkpoint_every)
    asked = estimator.get_params(deep=False)
    for name in ("checkpoint", "checkpoint_every", "n_jobs", "verbose"):
        del asked[name]  # which change nothing in what is learned
    if estimator.learning_rate != "cosine":
        del asked["max_iter"]  # nothing but the end depends on it
    if not isinstance(estimator.validation_split, str):  # what it splits off is in the data's hash
        asked["validation_split"] = type(estimator.validation_split).__name__
    if not isinstance(estimator.random_state, Integral):
        asked["random_state"] = type(estimator.random_state).__name__
    parameters = {name: repr(value) for name, value in asked.items()}
    checkpoint.claim({"estimator": type(estimator).__name__, "parameters": parameters})
    return checkpoint


def _random_state_of(estimator, checkpoint):
    """The generator that random_state stands for, or that of the fit to go on with."""
    from numba_lstm.training.checkpoints import save_generator

    random_state = check_random_state(estimator.random_state)
    if checkpoint is not None:
        if checkpoint.found is not None:
            random_state = checkpoint.found["random_state"]
        checkpoint.claim({"random_state": save_generator(random_state)})
    return random_state


def _batch_size_of(estimator, n):
    """Sequences of a batch, of n; with ``stateful`` the last one must be whole, too."""
    if not estimator.stateful:
        return min(64 if estimator.batch_size == "auto" else estimator.batch_size, n)
    batch_size = 1 if estimator.batch_size == "auto" else estimator.batch_size
    if n % batch_size:
        raise ValueError(
            f"stateful=True with batch_size={batch_size} goes on from each sequence to the "
            f"one {batch_size} later, but X has {n} sequences, not a multiple of that."
        )
    return batch_size

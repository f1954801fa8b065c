"""What the regressor and the classifier share: parameters, and fitting."""

from __future__ import annotations

import datetime as dt
import os
from abc import abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from numba_lstm.backend import DEVICES, MATMUL_PRECISIONS
from numba_lstm.estimators._callbacks import CallbackSupportMixin
from numba_lstm.estimators.architecture import CONSTRAINTS
from numba_lstm.estimators.held_out import NOTHING, HeldOut
from numba_lstm.estimators.job import Job
from numba_lstm.estimators.pickling import PicklingMixin
from numba_lstm.estimators.preparation import PreparationMixin
from numba_lstm.estimators.targets import Targets
from numba_lstm.sequences import Sequences

if TYPE_CHECKING:
    from numba_lstm.training.data import Dataset


_SPLITTER = HasMethods(["split", "get_n_splits"])


class BaseLSTM(PicklingMixin, CallbackSupportMixin, PreparationMixin, BaseEstimator):
    """Base of the estimators; its parameters are documented there."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **CONSTRAINTS,
        "solver": [StrOptions({"adam", "sgd", "rmsprop", "lbfgs"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "learning_rate": [StrOptions({"constant", "cosine", "plateau"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "validation_split": [StrOptions({"random", "last"}), _SPLITTER],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "warm_start": ["boolean"],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_every": [Interval(Integral, 1, None, closed="left"), dt.timedelta],
        "standardize": ["boolean"],
        "missing": [StrOptions({"error", "mask"})],
        "dtype": "no_validation",  # checked in _check_parameters, with what NumPy takes
        "n_jobs": [None, Integral],
        "device": [StrOptions(set(DEVICES))],
        "matmul_precision": [StrOptions(set(MATMUL_PRECISIONS))],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # -- what the two kinds of estimators answer for themselves ------------------

    @abstractmethod
    def _check_targets(
        self, y: Any, sequences: Sequences, reference: Targets | None, name: str = "y"
    ) -> Targets:
        """Check y; ``reference`` is what an earlier call, or the training y, gave."""

    def _class_weight(
        self, targets: Targets, training: Dataset, classes_known: bool
    ) -> np.ndarray | None:
        """Return what the weights are multiplied by, for each class, or None."""
        return None

    # -- fitting -----------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        times: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        times_val: Any = None,
        groups: Any = None,
    ):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Training sequences.
        y : array-like of shape (N,) or (N, K); with ``return_sequences`` (N, T) or \
                (N, T, K), or list of N arrays (T_i,) or (T_i, K)
            Targets; of labels several for each sequence or step as columns of 0 and 1. NaN
            among several stands for one that is not known and is left out of the loss, with
            ``return_sequences`` also for all of a step, or, as None, for its label.
        sample_weight : array-like of shape (N,), default=None
            Weights of the sequences in the loss and in the standardisation. With
            ``return_sequences`` also of the steps, (N, T) or a list of (T_i,): in the loss each
            target counts by its own, the inputs by the mean over their sequence.
        times : array-like of shape (N, T) or (T,), or list of N arrays (T_i,), default=None
            When each step was, numbers or dates: what is short-lived in a cell then decays
            with the time between two steps (Baytas et al. 2017), in units of the median one.
            Equal distances make no difference.
        X_val, y_val, sample_weight_val, times_val : like X, y and so on, default=None
            Data to compute the validation score on, after every epoch, and to stop by
            with ``early_stopping=True``. For time series use a stretch that comes
            after the training data: random splits leak the future.
        groups : array-like of shape (N,), default=None
            Group of each sequence, for a ``validation_split`` that asks for it.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, a shape or a value does not fit.
        TypeError
            If X or y is sparse, or holds something other than numbers.
        KeyboardInterrupt
            After Ctrl-C, once the batch at hand is done ("lbfgs": at once, as of the iteration
            before). The estimator is then fitted with what it has learned so far, and can go on
            from there with ``warm_start=True``.
        """
        continued = self.warm_start and hasattr(self, "theta_")
        held_out = HeldOut(X_val, y_val, sample_weight_val, times_val, groups)
        self._fit(X, y, sample_weight, times, held_out, continued=continued)
        return self

    def _fit(
        self,
        X,
        y,
        sample_weight,
        times,
        held_out=NOTHING,
        *,
        continued,
        partial=False,
        reference=None,
    ):
        """Prepare, train and end: see :class:`Job`."""
        job = Job(
            *(self, X, y, sample_weight, times),
            held_out=held_out,
            continued=continued,
            partial=partial,
            reference=reference,
        )
        job.end(job.train())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = True
        return tags

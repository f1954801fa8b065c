"""What the regressor and the classifier share: parameters, and fitting."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from abc import abstractmethod
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from numba_lstm.estimators._callbacks import CallbackSupportMixin, FitTasks
from numba_lstm.estimators.architecture import CONSTRAINTS
from numba_lstm.estimators.checks import check_parameters
from numba_lstm.estimators.pickling import PicklingMixin
from numba_lstm.estimators.preparation import PreparationMixin
from numba_lstm.estimators.targets import Targets
from numba_lstm.sequences import Sequences

if TYPE_CHECKING:
    from numba_lstm.training.data import Dataset
    from numba_lstm.training.loop import History


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
        "device": [str],
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
    ):
        """Train the network.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Training sequences.
        y : array-like of shape (N,) or (N, K); with ``return_sequences`` (N, T) or \
                (N, T, K), or list of N arrays (T_i,) or (T_i, K)
            Targets; of labels several for each sequence or step as columns of 0 and 1. With
            ``return_sequences`` a step whose targets are NaN, or whose label is NaN or None, is
            left out of the loss.
        sample_weight : array-like of shape (N,), default=None
            Weights of the sequences in the loss and in the standardisation.
        times : array-like of shape (N, T) or (T,), or list of N arrays (T_i,), default=None
            When each step was, numbers or dates: what is short-lived in a cell then decays
            with the time between two steps (Baytas et al. 2017), in units of the median one.
            Equal distances make no difference.
        X_val, y_val, sample_weight_val, times_val : like X, y and so on, default=None
            Data to compute the validation score on, after every epoch, and to stop by
            with ``early_stopping=True``. For time series use a stretch that comes
            after the training data: random splits leak the future.

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
        held_out = X_val, y_val, sample_weight_val, times_val
        self._fit(X, y, sample_weight, times, held_out, continued=continued)
        return self

    def _fit(
        self, X, y, sample_weight, times, held_out, *, continued, partial=False, reference=None
    ):
        """Train; ``partial`` for one epoch without callbacks and validation.

        Sets attributes only at the very end, so that an error leaves the estimator
        as it was. ``reference`` holds the classes where they are known beforehand.
        """
        from numba_lstm.training.lbfgs import LbfgsSettings, train_by_lbfgs
        from numba_lstm.training.loop import LoopSettings, train

        max_iter = 1 if partial else self.max_iter
        dtype = check_parameters(self, continued)
        checkpoint = None if partial else self._checkpoint()
        random_state = self._random_state(checkpoint)
        attributes, training, validation = self._training_data(
            *(X, y, sample_weight, times, None if partial else held_out, dtype, random_state),
            continued=continued,
            reference=reference,
        )
        batch_size = self._batch_size(len(training))
        before = {name: attributes[name] for name in ("loss_curve_", "validation_scores_")}

        def fitted(history: History) -> dict[str, Any]:
            return attributes | self._results(before, history)

        tasks = None
        if not partial:
            tasks = FitTasks(self, max_iter, X, y, sample_weight)
        told = (tasks.begin_epoch, lambda h: tasks.end_epoch(lambda: fitted(h))) if tasks else ()
        if checkpoint is not None:
            found = hashlib.blake2b(attributes["theta_"].tobytes())
            for data in filter(None, (training, validation)):
                data.hash_into(found)
            checkpoint.claim({"data or other first weights": found.hexdigest()})
        if self.solver == "lbfgs":
            history = train_by_lbfgs(
                self._penalised_loss(attributes, training),
                attributes["theta_"],
                validation,
                LbfgsSettings(max_iter, self.tol, bool(self.verbose)),
                *told,
            )
        else:
            settings = LoopSettings(
                max_iter=max_iter,
                batch_size=batch_size,
                shuffle=self.shuffle and not self.stateful,
                stateful=self.stateful,
                tbptt_steps=self.tbptt_steps,
                learning_rate="constant" if partial else self.learning_rate,
                learning_rate_init=self.learning_rate_init,
                early_stopping=self.early_stopping and not partial,
                n_iter_no_change=self.n_iter_no_change,
                tol=self.tol,
                verbose=bool(self.verbose),
            )
            history = train(
                self._network(attributes),
                attributes["theta_"],
                attributes["_optimizer"],
                attributes["_generator"],
                training,
                validation,
                settings,
                continued,
                checkpoint,
                *told,
            )
        if tasks:
            tasks.end(lambda: fitted(history))
        if "feature_names_in_" not in attributes:
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit
        self.__dict__.update(fitted(history))
        if history.interrupt is not None:
            raise history.interrupt
        if checkpoint is not None:
            checkpoint.remove()

    def _checkpoint(self):
        """The file that the progress is written to, if one is asked for."""
        from numba_lstm.training.checkpoints import Checkpoint

        if self.checkpoint is None:
            return None
        checkpoint = Checkpoint(self.checkpoint, self.checkpoint_every)
        asked = self.get_params(deep=False)
        for name in ("checkpoint", "checkpoint_every", "n_jobs", "verbose"):
            del asked[name]  # which change nothing in what is learned
        if not isinstance(self.random_state, Integral):
            asked["random_state"] = type(self.random_state).__name__
        parameters = {name: repr(value) for name, value in asked.items()}
        checkpoint.claim({"estimator": type(self).__name__, "parameters": parameters})
        return checkpoint

    def _random_state(self, checkpoint):
        """The generator that random_state stands for, or that of the fit to go on with."""
        from numba_lstm.training.checkpoints import save_generator

        random_state = check_random_state(self.random_state)
        if checkpoint is not None:
            if checkpoint.found is not None:
                random_state = checkpoint.found["random_state"]
            checkpoint.claim({"random_state": save_generator(random_state)})
        return random_state

    def _batch_size(self, n):
        """Sequences of a batch, of n; with ``stateful`` the last one must be whole, too."""
        if not self.stateful:
            return min(64 if self.batch_size == "auto" else self.batch_size, n)
        batch_size = 1 if self.batch_size == "auto" else self.batch_size
        if n % batch_size:
            raise ValueError(
                f"stateful=True with batch_size={batch_size} goes on from each sequence to the "
                f"one {batch_size} later, but X has {n} sequences, not a multiple of that."
            )
        return batch_size

    @staticmethod
    def _results(before, history):
        """Attributes that follow from the history of a fit, fit to be kept."""
        curve = before["loss_curve_"] + history.loss_curve
        scores = (before["validation_scores_"] or []) + history.validation_scores
        return {
            "theta_": history.theta.copy(),
            "loss_curve_": curve,
            "n_iter_": len(curve),
            "loss_": curve[-1] if curve else np.nan,
            "best_loss_": min(curve, default=np.nan),
            "validation_scores_": scores or None,
            "best_validation_score_": max(scores, default=None),
        }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = self.missing == "mask"
        tags.target_tags.required = True
        return tags

"""LSTMClassifier: sequences to classes."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from numba_lstm.estimators import class_predictions
from numba_lstm.estimators._documentation import documented
from numba_lstm.estimators.base import BaseLSTM
from numba_lstm.estimators.checks import trains_in_batches
from numba_lstm.estimators.class_weights import weights_by_class
from numba_lstm.estimators.labels import check_labels, flat_labels, known_classes
from numba_lstm.estimators.targets import Targets
from numba_lstm.estimators.weights import check_weights, weights_of_steps, weights_or_none
from numba_lstm.inputs import check_sequences
from numba_lstm.sequences import Sequences

if TYPE_CHECKING:
    from numba_lstm.training.data import Dataset


@documented
class LSTMClassifier(ClassifierMixin, BaseLSTM):
    """Long Short-Term Memory network that predicts classes from sequences.

    LSTM layers and a linear head with a logistic (two classes, or several labels for each
    sequence: y of shape (N, n_classes), 0 or 1) or softmax output,
    trained on the log-loss by backpropagation through time. X is
    (n_samples, n_timesteps, n_features), or (n_samples, n_timesteps) with one feature,
    or a list of arrays of different lengths. With ``return_sequences`` y has a label for every
    time step, or several: (N, T, n_classes), or a list of (T_i, n_classes). Steps whose label
    is NaN or None are left out of the loss and of the score.

    Parameters
    ----------
    {network}
    loss : {"log_loss"}, default="log_loss"
        Loss: the cross-entropy, binary or over all classes.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the loss; "balanced" makes up for their frequencies in
        the training part, counted by ``sample_weight``.
    {training}
    standardize : bool, default=True
        Whether inputs are standardised per feature with the
        mean and the standard deviation of the training part, batch by batch: X is not
        copied. A fit that goes on from another keeps what that one found.
    missing : {"error", "mask"}, default="error"
        What to make of NaN in X. With "mask" a feature's last value stands in for it (before
        the first the mean, or 0 without ``standardize``), and for each feature the network
        sees two more: whether it is missing, and log(1 + steps since it was seen).
    {computing}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; the columns of y where a sequence may have several.
    {weights}
    n_iter_ : int
        Epochs run, over all calls that went on from one another.
    loss_, best_loss_ : float
        Mean training loss of the last and of the best epoch.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_ : list of float or None
        Score on the validation data after each epoch: 1 - loss / loss
        of the classes' frequencies (scikit-learn's ``d2_log_loss_score``, weighted by
        ``class_weight``), or -loss where these leave none.
    best_validation_score_ : float or None
        The best of them.
    n_features_in_ : int
        Features F of a time step; columns of X where X has two dimensions.
    feature_names_in_ : ndarray of str
        Names of the columns, where X has two dimensions and they are strings.
    n_outputs_ : int
        Outputs of the network.
    input_mean_, input_scale_ : ndarray of shape (F,)
        Standardisation of the inputs; (3F,) with ``missing="mask"``.
    time_scale_ : float or None
        The median time between two steps, where ``fit`` was given ``times``: of dates in
        seconds; NaN if none passed.
    target_mean_, target_scale_ : ndarray of shape (1,)
        Standardisation of the targets: 0 and 1 here.

    See Also
    --------
    LSTMRegressor : Sequences to numbers.
    sklearn.neural_network.MLPClassifier : The same parameters without time.

    References
    ----------
    Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
    1997; Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation
    12(10), 2000.

    Examples
    --------
    >>> from numba_lstm import LSTMClassifier
    >>> from numba_lstm.datasets import load_japanese_vowels
    >>> X_train, X_test, y_train, y_test = load_japanese_vowels()
    >>> model = LSTMClassifier(hidden_size=32, max_iter=30, random_state=0)
    >>> bool(model.fit(X_train, y_train).score(X_test, y_test) > 0.9)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseLSTM._parameter_constraints,
        "loss": [StrOptions({"log_loss"})],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_size: int | Sequence[int] = 32,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        merge_mode: str = "concat",
        go_backwards: bool = False,
        residual: bool = False,
        bias: bool = True,
        forget_bias: float = 1.0,
        proj_size: int = 0,
        layer_norm: bool = False,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        learn_initial_state: bool = False,
        pooling: str = "last",
        head_hidden_size: int | None = None,
        head_activation: str = "relu",
        return_sequences: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        zoneout_hidden: float = 0.0,
        zoneout_cell: float = 0.0,
        loss: str = "log_loss",
        class_weight: dict | str | None = None,
        solver: str = "adam",
        learning_rate_init: float = 0.005,
        learning_rate: str = "constant",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        max_iter: int = 100,
        shuffle: bool = True,
        stateful: bool = False,
        tbptt_steps: int | None = None,
        memory: str = "full",
        clip_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        validation_split: Any = "random",
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        warm_start: bool = False,
        checkpoint: str | os.PathLike | None = None,
        checkpoint_every: int | dt.timedelta = 1,
        standardize: bool = True,
        missing: str = "error",
        dtype: Any = "float32",
        n_jobs: int | None = None,
        device: str = "cpu",
        matmul_precision: str = "float32",
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.merge_mode = merge_mode
        self.go_backwards = go_backwards
        self.residual = residual
        self.bias = bias
        self.forget_bias = forget_bias
        self.proj_size = proj_size
        self.layer_norm = layer_norm
        self.peephole = peephole
        self.coupled_gates = coupled_gates
        self.cell_clip = cell_clip
        self.learn_initial_state = learn_initial_state
        self.pooling = pooling
        self.head_hidden_size = head_hidden_size
        self.head_activation = head_activation
        self.return_sequences = return_sequences
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout_hidden = zoneout_hidden
        self.zoneout_cell = zoneout_cell
        self.loss = loss
        self.class_weight = class_weight
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.stateful = stateful
        self.tbptt_steps = tbptt_steps
        self.memory = memory
        self.clip_norm = clip_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.validation_split = validation_split
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.standardize = standardize
        self.missing = missing
        self.dtype = dtype
        self.n_jobs = n_jobs
        self.device = device
        self.matmul_precision = matmul_precision
        self.random_state = random_state
        self.verbose = verbose

    @available_if(trains_in_batches)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, times: Any = None
    ) -> LSTMClassifier:
        """Train for one epoch, going on from earlier calls and from ``fit``.

        The standardisation is that of the first call, which should have a few hundred time
        steps and targets; callbacks and ``early_stopping`` are for ``fit``.

        Parameters
        ----------
        X, y, sample_weight, times
            As in ``fit``.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed in the first call if its y lacks any.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        AttributeError
            With ``solver="lbfgs"``, which has no epochs.
        ValueError
            If a parameter, a shape or a value does not fit, or a label is unknown.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs the frequencies of all data, which partial_fit "
                "does not see. Pass a dict, or call fit."
            )
        continued = hasattr(self, "theta_")
        reference = None
        if classes is not None:
            earlier = self.classes_ if continued else None
            reference = known_classes(classes, y, self.return_sequences, earlier)
        self._fit(
            *(X, y, sample_weight, times),
            continued=continued,
            partial=True,
            reference=reference,
        )
        return self

    def predict(
        self, X: Any, *, initial_state: Any = None, return_state: bool = False, times: Any = None
    ) -> Any:
        """Predict the most probable class.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        initial_state : pair (h, c), default=None
            What the sequences begin with, as an earlier call returned it: arrays (N, H), or
            for several layers lists of these; (N, 2H) where a layer is bidirectional, and of
            h ``proj_size`` in the place of H. None is the beginning of a sequence: zeros, or
            what was learned.
        return_state : bool, default=False
            Whether to return what the sequences end with, too. To go on from it is to have
            been given the whole, but for what pools over time or reads backwards, and for the
            time that passes in between, where there are ``times``.
        times : like in ``fit``, default=None
            When each step was; needed if ``fit`` was given times.

        Returns
        -------
        ndarray of shape (N,); with ``return_sequences`` (N, T), or for a list a list of \
                N arrays (T_i,)
            Labels; with an axis for n_classes more, 0 and 1, where there may be several.
        state : pair (h, c)
            With ``return_state``.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or ``initial_state`` does
            not fit.
        """
        return self._predict(X, self._decode, initial_state, return_state, times)

    def predict_proba(
        self, X: Any, *, initial_state: Any = None, return_state: bool = False, times: Any = None
    ) -> Any:
        """Predict the probability of each class.

        Parameters
        ----------
        X : array-like of shape (N, T, F) or (N, T), or list of N arrays (T_i, F) or (T_i,)
            Sequences.
        initial_state, return_state, times
            As in ``predict``.

        Returns
        -------
        ndarray of shape (N, n_classes); with ``return_sequences`` (N, T, n_classes), or for \
                a list a list of N arrays (T_i, n_classes)
            Probabilities in float64, in the order of ``classes_``; of each label by itself
            where there may be several.
        state : pair (h, c)
            With ``return_state``.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or ``initial_state`` does
            not fit.
        """
        check_is_fitted(self)
        return self._predict(X, self._decode_proba, initial_state, return_state, times)

    def predict_log_proba(self, X: Any, *, times: Any = None) -> Any:
        """Logarithm of :meth:`predict_proba`, finite where the latter rounds to 0.

        Parameters
        ----------
        X, times
            As in ``predict_proba``.

        Returns
        -------
        ndarray or list of ndarray
            Shaped like ``predict_proba``.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on.
        """
        check_is_fitted(self)
        return self._predict(X, self._decode_log_proba, times=times)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, times: Any = None) -> float:
        """Accuracy of the predictions.

        Parameters
        ----------
        X, y, sample_weight, times
            As in ``fit``; with ``return_sequences`` all time steps that have a label count
            alike.

        Returns
        -------
        float
            Share of the right labels; where there may be several, of the sequences or time
            steps all of whose labels, as far as they are known, are right.

        Raises
        ------
        ValueError
            If X or y does not fit, or the weights sum to zero.
        """
        check_is_fitted(self)
        found = self.predict(X, times=times)
        several, per_step = self._targets.multilabel, self._targets.per_step
        if not several and not per_step:
            weight = weights_or_none(sample_weight, found)
            if np.ma.is_masked(y):
                flat_labels(y, check_sequences(X, allow_nan=True), False)  # which refuses it
            with np.errstate(invalid="ignore"):  # it casts infinity before it refuses it
                return class_predictions.accuracy(y, found, weight)
        sequences = check_sequences(X, allow_nan=True)  # predict has checked that
        if per_step:
            found = np.concatenate(list(found))
            weight = weights_of_steps(sample_weight, sequences, "sample_weight")
        else:
            weight = check_weights(sample_weight, len(sequences), "sample_weight")
        if several:
            truth = self._check_targets(y, sequences, self._targets).values
            truth = truth.gather(np.arange(len(sequences)))[0] if per_step else truth
            known = ~np.isnan(truth).all(axis=1)
            truth = np.where(np.isnan(truth), found, truth)[known]  # which has nothing wrong
        else:
            truth, known = flat_labels(y, sequences, True)
        return class_predictions.accuracy(truth, found[known], weight[known])

    def _decode(self, out: np.ndarray) -> np.ndarray:
        return class_predictions.labels(out, self.classes_, self._targets.multilabel)

    def _decode_proba(self, out: np.ndarray) -> np.ndarray:
        return class_predictions.probabilities(out, self._targets.multilabel)

    def _decode_log_proba(self, out: np.ndarray) -> np.ndarray:
        return class_predictions.log_probabilities(out, self._targets.multilabel)

    def _check_targets(
        self, y: Any, sequences: Sequences, reference: Targets | None, name: str = "y"
    ) -> Targets:
        per_step = self.return_sequences if reference is None else reference.per_step
        return check_labels(y, sequences, per_step, reference, self, name)

    def _loss_and_parameter(self, targets: Targets) -> tuple[int, float]:
        from numba_lstm.losses import BINARY_LOG_LOSS, LOG_LOSS

        binary = targets.n_outputs == 1 or targets.multilabel
        return (BINARY_LOG_LOSS if binary else LOG_LOSS), 0.0

    def _class_weight(
        self, targets: Targets, training: Dataset, classes_known: bool
    ) -> np.ndarray | None:
        return weights_by_class(self.class_weight, targets, training, classes_known)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = True
        tags.classifier_tags.multi_label = True
        return tags

"""LSTMRegressor: sequences to numbers."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from numba_lstm.estimators._documentation import documented
from numba_lstm.estimators.base import BaseLSTM
from numba_lstm.estimators.checks import trains_in_batches
from numba_lstm.estimators.targets import Targets, check_values
from numba_lstm.estimators.weights import weights_of_steps, weights_or_none
from numba_lstm.inputs import check_sequences
from numba_lstm.numbers_only import unmasked
from numba_lstm.sequences import Sequences

# The names of the losses; their arithmetic is imported with the kernels, in fit.
_LOSSES = {"squared_error", "absolute_error", "huber", "quantile"}


@documented
class LSTMRegressor(RegressorMixin, BaseLSTM):
    """Long Short-Term Memory network that predicts numbers from sequences.

    LSTM layers and a linear head, trained by backpropagation through time. X is
    (n_samples, n_timesteps, n_features), or (n_samples, n_timesteps) with one feature,
    or a list of arrays of different lengths.

    Parameters
    ----------
    {network}
    loss : {"squared_error", "absolute_error", "huber", "quantile"}, \
            default="squared_error"
        Loss, as PyTorch defines it (the squared error has no factor 1/2), in units of
        the standardised targets and averaged over them.
    quantile : float, default=0.5
        Quantile that ``loss="quantile"`` estimates.
    delta : float, default=1.0
        Where ``loss="huber"`` turns from a parabola into straight lines, in units of
        the standardised targets.
    {training}
    standardize : bool, default=True
        Whether inputs are standardised per feature, and the targets per output, with the
        mean and the standard deviation of the training part, batch by batch: X is not
        copied. A fit that goes on from another keeps what that one found.
    missing : {"error", "mask"}, default="error"
        What to make of NaN in X. With "mask" a feature's last value stands in for it (before
        the first the mean, or 0 without ``standardize``), and for each feature the network
        sees two more: whether it is missing, and log(1 + steps since it was seen).
    {computing}

    Attributes
    ----------
    {weights}
    n_iter_ : int
        Epochs run, over all calls that went on from one another.
    loss_, best_loss_ : float
        Mean training loss of the last and of the best epoch, in units of the
        standardised targets.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_ : list of float or None
        Score on the validation data after each epoch: 1 - loss / loss of a constant, the
        mean, median or quantile: R2 for the squared error and scikit-learn's D2 for the
        absolute and the quantile loss; -loss where the constant leaves none.
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
    target_mean_, target_scale_ : ndarray of shape (K,)
        Standardisation of the targets; predictions are scaled back.

    See Also
    --------
    LSTMClassifier : Sequences to classes.
    sklearn.neural_network.MLPRegressor : The same parameters without time.

    References
    ----------
    Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
    1997; Gers, Schmidhuber and Cummins, "Learning to Forget", Neural Computation
    12(10), 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTMRegressor
    >>> t = np.linspace(0, 40, 1000)
    >>> windows = np.lib.stride_tricks.sliding_window_view(np.sin(t), 31)
    >>> X, y = windows[:, :30], windows[:, 30]
    >>> model = LSTMRegressor(hidden_size=16, max_iter=30, random_state=0).fit(X[:800], y[:800])
    >>> bool(model.score(X[800:], y[800:]) > 0.99)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseLSTM._parameter_constraints,
        "loss": [StrOptions(_LOSSES)],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
        "delta": [Interval(Real, 0, None, closed="neither")],
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
        loss: str = "squared_error",
        quantile: float = 0.5,
        delta: float = 1.0,
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
        self.quantile = quantile
        self.delta = delta
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
        self, X: Any, y: Any, sample_weight: Any = None, *, times: Any = None
    ) -> LSTMRegressor:
        """Train for one epoch, going on from earlier calls and from ``fit``.

        The standardisation is that of the first call, which should have a few hundred time
        steps and targets; callbacks and ``early_stopping`` are for ``fit``.

        Parameters
        ----------
        X, y, sample_weight, times
            As in ``fit``.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        AttributeError
            With ``solver="lbfgs"``, which has no epochs.
        ValueError
            If a parameter, a shape or a value does not fit.
        """
        continued = hasattr(self, "theta_")
        self._fit(X, y, sample_weight, times, continued=continued, partial=True)
        return self

    def predict(
        self, X: Any, *, initial_state: Any = None, return_state: bool = False, times: Any = None
    ) -> Any:
        """Predict targets.

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
        ndarray of shape (N,) or (N, K); with ``return_sequences`` (N, T) or (N, T, K), \
                or for a list a list of N arrays (T_i,) or (T_i, K)
            Predictions in float64, in the units of y and in its shape; (N,) for (N, 1).
        state : pair (h, c)
            With ``return_state``.

        Raises
        ------
        ValueError
            If X is not like the X that the estimator was fitted on, or ``initial_state`` does
            not fit.
        """
        return self._predict(X, self._decode, initial_state, return_state, times)

    def _decode(self, out: np.ndarray) -> np.ndarray:
        if self._targets.has_columns:
            return out * self.target_scale_ + self.target_mean_
        # Numbers for the one column: 1 us less than arrays, of 60 for a small prediction.
        return out[:, 0] * self.target_scale_[0] + self.target_mean_[0]

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, times: Any = None) -> float:
        """Coefficient of determination R2 of the predictions.

        Parameters
        ----------
        X, y, sample_weight, times
            As in ``fit``; with ``return_sequences`` all time steps that have a
            target count alike.

        Returns
        -------
        float
            R2, averaged over the outputs of which two targets are known at least, of each over
            those.

        Raises
        ------
        ValueError
            If X or y does not fit.
        """
        check_is_fitted(self)
        from sklearn.metrics import r2_score

        found = self.predict(X, times=times)
        if not self._targets.per_step:
            y, weight = unmasked(y), weights_or_none(sample_weight, found)
            try:
                return r2_score(y, found, sample_weight=weight)
            except ValueError:
                # Some are NaN, or this says more: that the target of sequence 3 is text, say.
                sequences = check_sequences(X, allow_nan=True)
                truth = self._check_targets(y, sequences, self._targets).values
                if not np.isnan(truth).any():
                    raise
        else:
            predicted = check_sequences(found, name="predictions")
            sequences = check_sequences(X, allow_nan=True)
            targets = self._check_targets(y, sequences, self._targets).values
            weight = weights_of_steps(sample_weight, predicted, "sample_weight")
            everything = np.arange(len(predicted))
            truth, found = targets.gather(everything)[0], predicted.gather(everything)[0]
        known = ~np.isnan(truth)
        if known.all():
            return r2_score(truth, found, sample_weight=weight)
        weight = np.ones(len(truth)) if weight is None else weight
        scores = [
            r2_score(truth[rows, k], found[rows, k], sample_weight=weight[rows])
            for k, rows in enumerate(known.T)
            if np.count_nonzero(weight[rows]) > 1  # of a single value there is no R2
        ]
        return float(np.mean(scores)) if scores else np.nan

    def _check_targets(
        self, y: Any, sequences: Sequences, reference: Targets | None, name: str = "y"
    ) -> Targets:
        per_step = self.return_sequences if reference is None else reference.per_step
        return check_values(y, sequences, per_step, reference, self, name)

    def _loss_and_parameter(self, targets: Targets) -> tuple[int, float]:
        from numba_lstm.losses import REGRESSION_LOSSES

        parameter = self.quantile if self.loss == "quantile" else self.delta
        return REGRESSION_LOSSES[self.loss], parameter

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

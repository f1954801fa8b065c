"""The training loss as a function of the weights, for SciPy's minimisers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from numba_lstm.estimators.base import BaseLSTM
from numba_lstm.estimators.checks import check_one_loss, check_parameters


def objective(
    estimator: BaseLSTM,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    times: Any = None,
    from_fitted: bool = False,
) -> Objective:
    """Make the loss that ``fit`` would minimise a function of the weights.

    For :mod:`scipy.optimize`: ``minimize(fun, fun.theta0, jac=True)`` with any method that
    takes gradients, with ``hessp=fun.hessp`` those that take products with the Hessian;
    ``differential_evolution(fun.loss, ...)``; ``least_squares(fun.residuals, fun.theta0,
    fun.jacobian)``.

    Parameters
    ----------
    estimator : LSTMRegressor or LSTMClassifier
        Whose network and loss it is. It is not changed, and need not be fitted. Its ``dtype``
        is that of the estimators made; here all is float64.
    X, y, sample_weight, times
        As in ``fit``. Where the kernels can read X as it lies it is not copied: leave it as it
        is.
    from_fitted : bool, default=False
        Whether the standardisation, the classes and ``theta0`` are those of the fitted
        estimator, as with ``warm_start``, or made for these data, as in a first ``fit``.

    Returns
    -------
    Objective
        The function.

    Raises
    ------
    ValueError
        If a parameter, a shape or a value does not fit, or the loss would not be one function
        of the weights: with dropout, zoneout, ``stateful``, ``tbptt_steps``, ``early_stopping``.
    TypeError
        If ``estimator`` is none of this library, or X or y hold something other than numbers.
    NotFittedError
        If ``from_fitted`` and the estimator is not fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.optimize import minimize
    >>> from numba_lstm import LSTMRegressor, objective
    >>> X = np.random.default_rng(0).standard_normal((50, 6, 2))
    >>> y = X[:, -1, 0] * X[:, -2, 1]
    >>> fun = objective(LSTMRegressor(hidden_size=4, random_state=0), X, y)
    >>> found = minimize(fun, fun.theta0, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    >>> bool(fun.estimator_from(found.x).score(X, y) > 0.9)
    True
    """
    return Objective(estimator, X, y, sample_weight, times, from_fitted)


class Objective:
    """Mean loss of an estimator over all data plus its L2 penalty, as a function of theta.

        fun(theta) = mean loss + alpha / 2 * sum of squares of the weights that decay

    The mean is ``loss_curve_``'s, over all targets by their weights, in units of the
    standardised targets. The penalty is what weight decay of rate alpha descends, and, unlike
    MLPRegressor's, not divided by the number of samples; biases, norms and initial states are
    not in it. Made by :func:`objective`. Several threads may call it at once, and it can be
    pickled, with its data, for other processes.

    Attributes
    ----------
    theta0 : ndarray of float64 of shape (P,)
        Where to begin: the weights that ``fit`` would begin with, drawn by the estimator's
        ``random_state``, or with ``from_fitted`` the fitted ones.
    """

    def __init__(
        self,
        estimator: BaseLSTM,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        times: Any = None,
        from_fitted: bool = False,
    ) -> None:
        if not isinstance(estimator, BaseLSTM):
            raise TypeError(
                f"objective takes an LSTMRegressor or an LSTMClassifier, not {estimator!r}. Of a "
                "pipeline pass the last step, and X as the steps before it transform it."
            )
        if from_fitted:
            check_is_fitted(estimator)
        check_one_loss(estimator, "objective")
        self._dtype = check_parameters(estimator, from_fitted)
        self._estimator = clone(estimator)
        probe: Any = copy.copy(estimator) if from_fitted else clone(estimator)
        probe.dtype = "float64"
        if from_fitted:
            probe.theta_ = estimator.theta_.astype(np.float64)
        random_state = None if from_fitted else check_random_state(probe.random_state)
        self._attributes, data, _ = probe._training_data(
            *(X, y, sample_weight, times, None, np.dtype(np.float64), random_state),
            continued=from_fitted,
            reference=None,
        )
        self.theta0 = self._attributes["theta_"].copy()
        self._n_samples = len(data)
        self._loss = probe._penalised_loss(self._attributes, data)

    def __repr__(self) -> str:
        return (
            f"Objective({type(self._estimator).__name__}, n_weights={self.theta0.size}, "
            f"n_samples={self._n_samples})"
        )

    def __call__(self, theta: Any) -> tuple[float, np.ndarray]:
        """Loss and gradient, for ``minimize(jac=True)``.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.

        Returns
        -------
        loss : float
            The loss.
        grad : ndarray of float64 of shape (P,)
            Its gradient: exact, by backpropagation through time. Where the loss has kinks
            (absolute error, quantiles, "relu", pooling by maximum), that of one side.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,).
        """
        return self._loss.value_and_grad(self._checked(theta))

    def loss(self, theta: Any) -> float:
        """Loss alone, by the forward pass.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.

        Returns
        -------
        float
            The loss.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,).
        """
        return self._loss.value(self._checked(theta))

    def grad(self, theta: Any) -> np.ndarray:
        """Gradient alone; it takes as long as both.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.

        Returns
        -------
        ndarray of float64 of shape (P,)
            The gradient.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,).
        """
        return self(theta)[1]

    def hessp(self, theta: Any, v: Any) -> np.ndarray:
        """Product of the Hessian with a vector, by a central difference of two gradients.

        The step is the cube root of the rounding unit, 6e-6, or as many times that as the
        largest weight is, along v. Of losses without kinks the error is some 1e-9 of the
        Hessian's norm times that of v, which is tested to 1e-8.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.
        v : array-like of shape (P,)
            The vector.

        Returns
        -------
        ndarray of float64 of shape (P,)
            The product. Across a kink of the loss it is not that of the Hessian.

        Raises
        ------
        ValueError
            If ``theta`` or ``v`` does not have shape (P,).
        """
        theta, v = self._checked(theta), self._checked(v, "v")
        norm = np.linalg.norm(v)
        if norm == 0:
            return np.zeros_like(theta)
        step = np.cbrt(np.finfo(np.float64).eps) * max(1.0, np.abs(theta).max())
        move = v * (step / norm)
        difference = self.grad(theta + move) - self.grad(theta - move)
        return difference * (norm / (2 * step))

    def residuals(self, theta: Any) -> np.ndarray:
        """Residuals whose squares make the loss, for ``least_squares``.

        Half the sum of their squares is the loss, penalty included. First come those of the
        outputs, sqrt(2 w / K) (output - target) for the share w of a target in all weights, in
        the order of X, time steps and outputs; rows of no weight have none, and where one of
        several targets is not known it is 0. Then, if alpha is above 0, sqrt(alpha) times each
        weight that decays.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.

        Returns
        -------
        ndarray of float64 of shape (M,)
            The residuals.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,), or the loss is not the squared error.
        """
        return self._least_squares().residuals(self._checked(theta))

    def jacobian(self, theta: Any) -> np.ndarray:
        """Derivatives of the residuals, for ``least_squares``.

        Exact, by a backward pass for each output of each sequence (and each of its steps, with
        ``return_sequences``): as many as there are residuals, and room for M times P numbers.
        For small data, on which it is well worth its time.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights.

        Returns
        -------
        ndarray of float64 of shape (M, P)
            A row for each of the residuals.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,), or the loss is not the squared error.
        """
        return self._least_squares().jacobian(self._checked(theta))

    def named(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Views on a vector under the names, and in the shapes, of ``parameters_``.

        To see weights, or to set bounds by name in a vector of bounds.

        Parameters
        ----------
        theta : ndarray of shape (P,)
            Contiguous; weights, bounds, a gradient.

        Returns
        -------
        dict of str to ndarray
            The views.

        Raises
        ------
        ValueError
            If ``theta`` is not a contiguous vector of P numbers.
        """
        sound = isinstance(theta, np.ndarray) and theta.flags.c_contiguous
        if not sound or theta.shape != self.theta0.shape:
            raise ValueError(
                "Views need a contiguous array of shape "
                f"{self.theta0.shape}; got {type(theta).__name__} of shape {np.shape(theta)}."
            )
        return self._loss.layout.named(theta)

    def estimator_from(self, theta: Any) -> Any:
        """Make a fitted estimator of weights.

        Parameters
        ----------
        theta : array-like of shape (P,)
            The weights; rounded to the estimator's ``dtype``.

        Returns
        -------
        LSTMRegressor or LSTMClassifier
            A clone of the one that was given, fitted with these weights. It has no history:
            ``n_iter_`` is 0.

        Raises
        ------
        ValueError
            If ``theta`` does not have shape (P,), or a weight is NaN, infinite, or too large
            for the estimator's ``dtype``.
        """
        from numba_lstm.interop.assembly import assemble
        from numba_lstm.interop.numpy_predictor import STANDARDISATION
        from numba_lstm.training.loop import is_sound

        with np.errstate(over="ignore"):
            rounded = self._checked(theta).astype(self._dtype)
        if not is_sound(rounded):
            raise ValueError(
                f"A weight is NaN, infinite or too large for dtype={self._dtype.name!r}: the "
                f"largest is {np.abs(theta).max()}."
            )
        known = self._attributes
        return assemble(
            clone(self._estimator),
            self._loss.layout,
            rounded,
            known["_targets"],
            **{name: known[f"{name}_"] for name in STANDARDISATION},
            masks=known["_masks"],
            was_2d=known["_was_2d"],
            n_features=known["n_features_in_"],
            time_scale=known["time_scale_"],
            time_kind=known["_time_kind"],
            feature_names=known.get("feature_names_in_"),
        )

    def _least_squares(self):
        from numba_lstm.interop.residuals import LeastSquares

        return LeastSquares(self._loss)

    def _checked(self, vector, name="theta"):
        """A contiguous, writeable vector of float64: other arrays are other types to Numba."""
        checked = np.require(vector, np.float64, ["C", "W", "E"])
        if checked.shape != self.theta0.shape:
            raise ValueError(
                f"{name} has shape {checked.shape}; the network has weights of shape "
                f"{self.theta0.shape}."
            )
        return checked

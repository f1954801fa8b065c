"""The losses, each as a value and a gradient for one row of outputs."""

from __future__ import annotations

import math

import numpy as np

from numba_lstm._jit import helper, kernel
from numba_lstm.activations import exp, sigmoid
from numba_lstm.memory import view
from numba_lstm.vectors import at_least

SQUARED_ERROR, ABSOLUTE_ERROR, HUBER, QUANTILE, BINARY_LOG_LOSS, LOG_LOSS = range(6)

# The names of the estimators' parameter ``loss``.
REGRESSION_LOSSES = {
    "squared_error": SQUARED_ERROR,
    "absolute_error": ABSOLUTE_ERROR,
    "huber": HUBER,
    "quantile": QUANTILE,
}


@helper
def _residual_loss(kind, parameter, e):
    """Value and derivative of a regression loss at the residual e = output - y."""
    T = type(e)
    zero, half, one, two = T(0.0), T(0.5), T(1.0), T(2.0)
    if kind == SQUARED_ERROR:
        return e * e, two * e
    if kind == HUBER:
        if abs(e) <= parameter:
            return half * e * e, e
        slope = parameter if e > zero else -parameter
        return slope * e - half * parameter * parameter, slope
    # The absolute error is twice the pinball loss of the median.
    below, above = (-one, one) if kind == ABSOLUTE_ERROR else (-parameter, one - parameter)
    slope = zero
    if e > zero:
        slope = above
    elif e < zero:
        slope = below
    elif e != e:
        slope = e
    return slope * e, slope


@helper
def loss_rows(kind, parameter, out, y, weight, d_out, row_loss, first, last):
    """Weighted loss of rows ``first`` to ``last``, and its gradient.

    Parameters
    ----------
    kind : int
        One of the module's constants.
    parameter : float
        delta of the Huber loss or the quantile of the pinball loss.
    out : ndarray of shape (Q, K)
        Outputs of the network: values, or the logits of the classes.
    y : ndarray of shape (Q, K) or, for LOG_LOSS, (Q, 1)
        Targets: values, 0 or 1 for BINARY_LOG_LOSS, or the index of the class. A value that
        is NaN is not known, and adds exactly nothing.
    weight : ndarray of shape (Q,)
        Weight of each row; a row of weight 0 adds exactly nothing.
    d_out : ndarray of shape (Q, K)
        Receives the gradient with respect to ``out``.
    row_loss : ndarray of shape (Q,)
        Receives each row's weight times loss; for K targets, times their sum over K.
    first, last : int
        The rows to go through.
    """
    K = out.shape[1]
    for q in range(first, last):
        w, total = weight[q], 0.0
        if w == 0:
            for k in range(K):
                d_out[q, k] = 0
        elif kind == BINARY_LOG_LOSS:
            share = w / type(w)(K)  # several columns are labels that do not exclude each other
            for k in range(K):
                if y[q, k] != y[q, k]:
                    d_out[q, k] = 0
                    continue
                z = out[q, k]
                value = at_least(z, type(z)(0.0)) - y[q, k] * z
                value += type(z)(math.log1p(math.exp(-abs(z))))
                total += np.float64(share * value)
                d_out[q, k] = share * (sigmoid(z) - y[q, k])
        elif kind == LOG_LOSS:
            top = out[q, 0]
            for k in range(1, K):
                top = at_least(top, out[q, k])
            denominator = type(top)(0.0)
            for k in range(K):
                d_out[q, k] = exp(out[q, k] - top)
                denominator += d_out[q, k]
            label = int(y[q, 0])
            total += np.float64(w * (type(top)(math.log(denominator)) + top - out[q, label]))
            for k in range(K):
                d_out[q, k] = w * (d_out[q, k] / denominator)
            d_out[q, label] -= w
        else:
            share = w / type(w)(K)
            for k in range(K):
                if y[q, k] != y[q, k]:
                    d_out[q, k] = 0
                    continue
                value, slope = _residual_loss(kind, parameter, out[q, k] - y[q, k])
                total += np.float64(share * value)
                d_out[q, k] = share * slope
        row_loss[q] = total


@kernel
def all_losses(
    kind: int,
    parameter: float,
    out: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    d_out: np.ndarray,
    row_loss: np.ndarray,
) -> None:
    """Call :func:`loss_rows` for all rows, from Python."""
    out, y, weight, d_out, row_loss = view((out, y, weight, d_out, row_loss))
    loss_rows(kind, parameter, out, y, weight, d_out, row_loss, 0, out.shape[0])


@kernel
def sum_of_losses(row_loss):
    """Sum of the losses of outputs, in float64.

    NumPy's takes up to 15 us more between two batches, with cold caches.
    """
    total, row_loss = 0.0, view(row_loss)
    for q in range(row_loss.size):
        total += np.float64(row_loss[q])
    return total


def null_output(
    kind: int, parameter: float, y: np.ndarray, weight: np.ndarray, n_outputs: int
) -> np.ndarray:
    """Return the constant output that the skill of a model is measured against.

    The mean for the squared error, the median for the absolute error, the quantile
    for the pinball loss, the classes' frequencies (as logits) for the log-losses, each
    the constant of the least loss: the score built on it is R2 for the squared error,
    and elsewhere scikit-learn's D2. The median for the Huber loss, too, whose best
    constant lies between median and mean.

    Parameters
    ----------
    kind, parameter
        As in :func:`loss_rows`.
    y : ndarray of shape (Q, K) or (Q, 1)
        Targets, NaN where one is not known.
    weight : ndarray of shape (Q,)
        Weights.
    n_outputs : int
        K.

    Returns
    -------
    ndarray of shape (K,)
        float64.
    """
    if kind == LOG_LOSS:
        y = y == np.arange(n_outputs)
    y, known = y.astype(np.float64), y == y
    weight = known * weight.astype(np.float64)[:, np.newaxis]
    weight[:, ~weight.any(axis=0)] = 1  # of an output that is nowhere known: any constant
    y[~known] = 0
    if kind in (BINARY_LOG_LOSS, LOG_LOSS):
        share = np.average(y, axis=0, weights=weight)
        least = np.finfo(np.float64).tiny
        logits = np.log(np.maximum(share, least))
        return logits if kind == LOG_LOSS else logits - np.log(np.maximum(1 - share, least))
    if kind == SQUARED_ERROR:
        return np.average(y, axis=0, weights=weight)
    level = parameter if kind == QUANTILE else 0.5
    order = np.argsort(y, axis=0)
    cumulated = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    position = (cumulated < level * cumulated[-1]).sum(axis=0)
    ordered = np.take_along_axis(y, order, axis=0)
    return ordered[position, np.arange(y.shape[1])]

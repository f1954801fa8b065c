"""Estimators and data whose losses are functions of the weights."""

import numpy as np
from sklearn.base import clone

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
N, T = 12, 5
X = rng.standard_normal((N, T, 2))
RAGGED = [rng.standard_normal((n, 2)) for n in rng.integers(1, 7, N)]
Y = X[:, -1, 0] - X[:, -2, 1]
TWO = np.column_stack([Y, Y**2 + 3])
STEPS = np.cumsum(X[:, :, 0], axis=1)
GAPS = np.where(rng.random(STEPS.shape) < 0.3, np.nan, STEPS)
RAGGED_STEPS = [x.sum(axis=1) for x in RAGGED]
RAGGED_STEPS[3][0] = np.nan
WEIGHT = rng.uniform(0, 2, N)
WEIGHT[4] = 0
LABELS = np.array(["a", "b", "c"] * 4)
SEVERAL = (X[:, :3, 0] > 0).astype(float)
SMALL = {"hidden_size": 3, "random_state": 0, "alpha": 0.02}

regressor, classifier = LSTMRegressor(**SMALL), LSTMClassifier(**SMALL)
# The estimator, X, y, and what the reference needs to know.
PROBLEMS = {
    "squared": (regressor, X, Y, {}),
    "several outputs": (regressor, X, TWO, {}),
    "not standardised": (clone(regressor).set_params(standardize=False), X, Y, {}),
    "ragged": (regressor, RAGGED, Y, {}),
    "every step": (clone(regressor).set_params(return_sequences=True), X, GAPS, {}),
    "ragged steps": (
        clone(regressor).set_params(return_sequences=True), RAGGED, RAGGED_STEPS, {},
    ),
    "absolute": (clone(regressor).set_params(loss="absolute_error"), X, Y, {}),
    "huber": (clone(regressor).set_params(loss="huber", delta=0.4), X, Y, {"parameter": 0.4}),
    "quantile": (
        clone(regressor).set_params(loss="quantile", quantile=0.2), X, TWO, {"parameter": 0.2},
    ),
    "two classes": (classifier, X, Y > 0, {}),
    "three classes": (classifier, RAGGED, LABELS, {}),
    "class weights": (
        clone(classifier).set_params(class_weight={"a": 1, "b": 3, "c": 0.5}), X, LABELS, {},
    ),
    "several labels": (classifier, X, SEVERAL, {}),
    "labels of steps": (clone(classifier).set_params(return_sequences=True), X, STEPS > 0, {}),
    "stack": (
        LSTMRegressor(
            [3, 2], bidirectional=True, peephole=True, pooling="attention", alpha=0.1,
            learn_initial_state=True, random_state=0,
        ), RAGGED, Y, {"direction": "both", "pooling": "attention"},
    ),
    "windows": (clone(regressor).set_params(memory="recompute"), X, Y, {}),
}  # fmt: skip
SMOOTH = [name for name in PROBLEMS if name not in ("absolute", "quantile", "huber")]


def moved(fun, seed=1):
    """A theta away from the beginning, where biases and peepholes are not 0."""
    return fun.theta0 + np.random.default_rng(seed).normal(0, 0.3, fun.theta0.size)

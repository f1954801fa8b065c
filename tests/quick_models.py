"""Two dozen short sequences, and estimators for them that are quick to fit."""

import numpy as np

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
N, T = 24, 5
X = rng.standard_normal((N, T, 2))
Y = X[:, -1, 0] + 0.5 * X[:, 0, 1]
LABELS = np.array(["no", "yes", "perhaps"])[(Y > 0).astype(int) + (Y > 1)]
RAGGED = [x[: 2 + i % 4] for i, x in enumerate(X)]
STEPS = np.cumsum(X[:, :, 0], axis=1)


def regressor(**parameters):
    settings = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMRegressor(**(settings | parameters))


def classifier(**parameters):
    settings = {"hidden_size": 3, "max_iter": 3, "batch_size": 8, "random_state": 0}
    return LSTMClassifier(**(settings | parameters))

"""A dozen sequences, and an estimator for them that is quick to fit."""

import numpy as np

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((12, 4, 2)).astype(np.float32)
Y = X[:, -1, 0] - X[:, 0, 1]


def small(**parameters):
    return LSTMRegressor(hidden_size=2, max_iter=2, random_state=0, **parameters)


def per_step(classifier=False):
    """Ragged sequences, a target for every step, and an estimator fitted on them."""
    ragged = [X[i, : 2 + i % 3] for i in range(12)]
    if classifier:
        y = [np.where(x[:, 0] > 0, "up", "down") for x in ragged]
        return ragged, y, LSTMClassifier(2, max_iter=1, return_sequences=True).fit(ragged, y)
    y = [x[:, 0] for x in ragged]
    return ragged, y, small(return_sequences=True).fit(ragged, y)

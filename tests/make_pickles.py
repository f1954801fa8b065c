"""Pickle fitted estimators of this version, for tests/test_pickles.py: once for each version.

Run it with the lowest versions of the dependencies, whose pickles the newer ones can read:

    python tests/make_pickles.py
"""

import pickle
from pathlib import Path

import numpy as np

import numba_lstm
from numba_lstm import LSTMClassifier, LSTMRegressor

DIRECTORY = Path(__file__).parent / "data" / "pickles"


def make():
    """Each estimator with the inputs that it predicts from, and what else predict needs."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 6, 2)).round(3)
    y, gap = X[:, -1, 0], X.copy()
    gap[::3, 2, 1] = np.nan
    times = np.cumsum(rng.integers(1, 4, (30, 6)), axis=1).astype(float)
    options = {"max_iter": 3, "random_state": 0}
    many = {"peephole": True, "layer_norm": True, "learn_initial_state": True, "dropout": 0.1}
    regressor = LSTMRegressor([4, 3], solver="rmsprop", **many, **options).fit(X, y)
    double = LSTMRegressor(3, dtype="float64", return_sequences=True, **options)
    masked = LSTMClassifier(3, missing="mask", **options).fit(gap, np.where(y > 0, "up", "down"))
    timed = LSTMRegressor(3, proj_size=2, **options).fit(X, np.stack([y, -y], 1), times=times)
    both = {"bidirectional": True, "merge_mode": "sum", "pooling": "attention"}
    several = LSTMClassifier(3, head_hidden_size=4, **both, **options).fit(X, X[:, -1] > 0)
    stream = regressor.stream()
    for x in X[0, :3]:
        stream.step(x)
    return {
        "regressor": (regressor, X, {}),
        "float64": (double.fit(X, X[:, :, 0]), X, {}),
        "masked": (masked, gap, {}),
        "timed": (timed, X, {"times": times}),
        "several labels": (several, X, {}),
        "stream": (stream, X[0, 3], {}),
    }


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    kept = {}
    for name, (model, X, options) in make().items():
        frozen = pickle.dumps(model, protocol=4)
        method = "step" if name == "stream" else "predict"
        if hasattr(model, "classes_"):
            method = "predict_proba"
        kept[name] = (frozen, method, X, options, getattr(model, method)(X, **options))
    with (DIRECTORY / f"{numba_lstm.__version__}.pkl").open("wb") as file:
        pickle.dump(kept, file, protocol=4)

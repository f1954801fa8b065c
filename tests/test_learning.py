"""Models learn what an LSTM must be able to learn, in seconds."""

import numpy as np

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.datasets import load_japanese_vowels, make_adding_problem


def test_sine_wave():
    t = np.linspace(0, 60, 1500)
    windows = np.lib.stride_tricks.sliding_window_view(3000 + 800 * np.sin(t), 31)
    X, y = windows[:, :30], windows[:, 30]
    model = LSTMRegressor(16, max_iter=30, random_state=0).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.999
    assert np.ptp(model.predict(X[1000:])) > 1500  # in the target's own units


def test_adding_problem():
    """Always 1 has a mean squared error of 1/6; only a memory of 50 steps gets below."""
    X, y = make_adding_problem(10_000, 50, random_state=0)
    X_test, y_test = make_adding_problem(1000, 50, random_state=1)
    model = LSTMRegressor(
        32, batch_size=50, max_iter=20, learning_rate_init=0.01, learning_rate="cosine",
        random_state=0,
    )  # fmt: skip
    model.fit(X, y)
    assert np.mean((model.predict(X_test) - y_test) ** 2) < 0.003


def test_japanese_vowels():
    X_train, X_test, y_train, y_test = load_japanese_vowels()
    model = LSTMClassifier(64, max_iter=40, learning_rate="cosine", random_state=0)
    model.fit(X_train, y_train)
    assert model.score(X_test, y_test) >= 0.95


def test_quantiles_hold_their_share():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 3, 1))
    y = X[:, -1, 0] + rng.exponential(size=2000)
    for quantile in (0.1, 0.9):
        model = LSTMRegressor(8, loss="quantile", quantile=quantile, max_iter=20, random_state=0)
        below = np.mean(y[1000:] < model.fit(X[:1000], y[:1000]).predict(X[1000:]))
        assert abs(below - quantile) < 0.05


def test_absolute_error_is_not_led_astray():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 3, 1))
    truth = X.sum(axis=(1, 2))
    y = truth + 30 * (rng.uniform(size=600) < 0.1)
    errors = {}
    for loss in ("squared_error", "absolute_error"):
        model = LSTMRegressor(16, loss=loss, max_iter=40, random_state=0).fit(X, y)
        errors[loss] = np.abs(model.predict(X) - truth).mean()
    assert errors["absolute_error"] < 0.3 * errors["squared_error"]


def test_labels_at_every_step():
    """The sign of the running sum needs the whole past of each step."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((n, 1)) for n in rng.integers(5, 30, 300)]
    y = [np.where(x.cumsum() > 0, "up", "down") for x in X]
    model = LSTMClassifier(
        16, return_sequences=True, max_iter=30, learning_rate_init=0.02, random_state=0
    )
    assert model.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.93


def test_eight_layers_train_with_skip_connections_and_stall_without():
    X = np.random.default_rng(0).standard_normal((1000, 20, 3))
    y = X[:, -1, 0] + X[:, -5, 1] * X[:, -2, 2]
    settings = {"hidden_size": 16, "num_layers": 8, "max_iter": 30}

    def losses(residual):
        return [
            LSTMRegressor(residual=residual, random_state=seed, **settings).fit(X, y).loss_
            for seed in range(3)
        ]

    assert max(losses(residual=True)) < 0.5 * min(losses(residual=False))

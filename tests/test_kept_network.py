"""Predictions again and again: the network is made once, and is never an old one."""

import threading

import numpy as np

from numba_lstm import LSTMRegressor
from numba_lstm.backend import kept_network


def test_a_kept_network_is_of_the_estimator_as_it_is():
    """The next prediction sees what was set since the last one, also in place."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 7, 2)), rng.standard_normal(20)
    model = LSTMRegressor(hidden_size=5, max_iter=2, random_state=0).fit(X, y)
    other = LSTMRegressor(hidden_size=5, max_iter=2, random_state=1).fit(5 * X, y)
    before, of_other = model.predict(X), other.predict(X)
    np.testing.assert_array_equal(model.predict(X), before)
    network = model._network(vars(model), kept_network)
    assert network is model._network(vars(model), kept_network)
    assert network is not other._network(vars(other), kept_network)
    np.testing.assert_array_equal(other.predict(X), of_other)
    model.input_mean_ += 0.5
    shifted = model.predict(X + 0.5)
    np.testing.assert_allclose(shifted, before, rtol=1e-5, atol=1e-6)
    assert np.abs(model.predict(X) - before).max() > 1e-3
    model.input_mean_ -= 0.5
    model.theta_ *= 2
    assert np.abs(model.predict(X) - before).max() > 1e-3
    model.theta_ /= 2
    np.testing.assert_array_equal(model.set_params(n_jobs=1).predict(X), before)
    assert model._network(vars(model), kept_network).n_threads == 1


def test_a_kept_network_is_of_its_thread():
    X = np.random.default_rng(0).standard_normal((9, 4, 2))
    model = LSTMRegressor(hidden_size=5, max_iter=1).fit(X, X[:, 0, 0])
    found = []

    def make():
        found.append(model._network(vars(model), kept_network))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    make()
    assert found[0] is not found[1]

"""Predictions again and again: the network is made once, and is never an old one."""

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from numba_lstm import LSTMRegressor


def test_a_kept_network_is_of_the_estimator_as_it_is():
    """The next prediction sees what was set since the last one, also in place."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 7, 2)), rng.standard_normal(20)
    model = LSTMRegressor(hidden_size=5, max_iter=2, random_state=0).fit(X, y)
    other = LSTMRegressor(hidden_size=5, max_iter=2, random_state=1).fit(5 * X, y)
    before, of_other = model.predict(X), other.predict(X)
    np.testing.assert_array_equal(model.predict(X), before)
    network = model._network_for_prediction()
    assert network is model._network_for_prediction()
    assert network is not other._network_for_prediction()
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
    assert model._network_for_prediction().n_threads == 1


def test_a_kept_network_is_of_its_thread():
    X = np.random.default_rng(0).standard_normal((9, 4, 2))
    model = LSTMRegressor(hidden_size=5, max_iter=1).fit(X, X[:, 0, 0])
    found = []

    def make():
        found.append(model._network_for_prediction())

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    make()
    assert found[0] is not found[1]


def test_predictions_of_one_shape_do_not_mix():
    """Buffers are kept for the next array of this shape: other calls in between leave no trace."""
    rng = np.random.default_rng(3)
    X, more = rng.standard_normal((6, 5, 2)), rng.standard_normal((9, 5, 2))
    y = rng.standard_normal(6)
    models = [
        LSTMRegressor(hidden_size=4, zoneout_hidden=0.3, max_iter=2, random_state=0).fit(X, y),
        LSTMRegressor(hidden_size=7, max_iter=2, random_state=0).fit(X, y),
        LSTMRegressor(hidden_size=4, return_sequences=True, max_iter=2).fit(X, X[:, :, 0]),
        LSTMRegressor(hidden_size=(4, 3), dtype="float64", max_iter=2).fit(X, y),
    ]
    first = [model.predict(X) for model in models]
    again = [rng.permutation(4) for _ in range(5)]
    for k in np.concatenate(again):
        model = models[k]
        _, state = model.predict(X, return_state=True)
        moved = model.predict(X, initial_state=state)
        assert np.abs(moved - first[k]).max() > 0
        np.testing.assert_array_equal(model.predict(X), first[k])
        np.testing.assert_array_equal(model.predict(np.asfortranarray(X)), first[k])
        np.testing.assert_array_equal(model.predict(X.astype(">f8")), first[k])
        assert len(model.predict(more)) == 9
        model.predict(list(X))
        model.hidden_states(X)


def test_a_kept_prediction_reads_what_it_is_given():
    """It holds addresses: of the weights, and of the last inputs, which are others each time."""
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((40, 6, 3)), rng.standard_normal(40)
    model = LSTMRegressor(hidden_size=8, max_iter=1, random_state=0).fit(X, y)
    given = [rng.standard_normal(X.shape).astype(dtype) for dtype in ("f4", "f8") * 3]
    for x in given:
        # More sequences, so that nothing is kept of the first ones.
        expected = model.predict(np.concatenate([x, x]))[:40]
        np.testing.assert_array_equal(model.predict(x), expected)
        np.testing.assert_array_equal(model.predict(x.copy()), expected)
        np.testing.assert_array_equal(model.predict(x), expected)
        x *= 2
        assert np.abs(model.predict(x) - expected).max() > 1e-3
    before = model.predict(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(model.predict(frozen), before)
    model.theta_ = 2 * model.theta_
    assert np.abs(model.predict(X) - before).max() > 1e-3


def test_a_kept_prediction_holds_no_inputs():
    X = np.random.default_rng(6).standard_normal((10, 4, 2))
    model = LSTMRegressor(hidden_size=3, max_iter=1).fit(X.copy(), X[:, 0, 0])
    model.predict(X)
    gone = weakref.ref(X)
    del X
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on_with_a_kept_prediction():
    """Its parent's OpenMP threads would end it."""
    code = """
import os
import numpy as np
from numba_lstm import LSTMRegressor

X = np.random.default_rng(0).standard_normal((64, 5, 2))
model = LSTMRegressor(4, max_iter=1, n_jobs=2, random_state=0).fit(X, X[:, 0, 0])
expected = [model.predict(X) for _ in range(3)][-1]
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(model.predict(X), expected) else 1)
print(os.waitpid(child, 0)[1])
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert ran.stdout.strip() == b"0", ran.stderr


def test_threads_share_a_model_and_no_buffers():
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((5, 8, 30, 2)), rng.standard_normal(8)
    model = LSTMRegressor(hidden_size=6, max_iter=1, random_state=0).fit(X[0], y)
    expected = [model.predict(one) for one in X]
    wrong = []

    def check(k):
        for _ in range(200):
            if not np.array_equal(model.predict(X[k]), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=check, args=(k,)) for k in range(len(X))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

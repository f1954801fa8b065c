"""Class probabilities, one time step at a time."""

import copy
import pickle

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((20, 6, 3))
TARGETS = {
    "two classes": X[:, -1, 0] > 0,
    "three classes": np.array(["low", "high", "other"])[np.arange(20) % 3],
    "several labels": (X[:, -1] > 0).astype(int),
}


def fitted(y, X=X, **options):
    return LSTMClassifier(5, max_iter=2, random_state=0, **options).fit(X, y)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_steps_have_the_probabilities_of_what_came_so_far(y, dtype):
    model = fitted(y, dtype=dtype)
    one, many = model.stream(), model.stream(20)
    for t in range(X.shape[1]):
        expected = model.predict_proba(X[:, : t + 1])
        found = one.step_proba(X[0, t])
        assert found.dtype == np.float64
        assert found.shape == expected[0].shape
        np.testing.assert_allclose(found, expected[0], rtol=1e-14)
        np.testing.assert_allclose(many.step_proba(X[:, t]), expected, rtol=1e-14)
    assert one.n_steps == X.shape[1]


def test_steps_and_probabilities_may_alternate():
    model = fitted(TARGETS["three classes"])
    stream, labels = model.stream(20), model.stream(20)
    for t in range(X.shape[1]):
        if t % 2:
            p = stream.step_proba(X[:, t])
            found = model.classes_[p.argmax(axis=1)]
        else:
            found = stream.step(X[:, t])
        np.testing.assert_array_equal(found, labels.step(X[:, t]))
    kept, twins = p.copy(), (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream)))
    expected = stream.step_proba(X[:, 0])
    for twin in twins:
        np.testing.assert_array_equal(twin.step_proba(X[:, 0]), expected)
    np.testing.assert_array_equal(p, kept)  # not a view of what the next step writes


def test_probabilities_at_uneven_times_and_with_gaps():
    gaps = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    times = np.cumsum(rng.exponential(size=X.shape[:2]), axis=1)
    y = TARGETS["three classes"]
    model = LSTMClassifier(5, max_iter=2, random_state=0, missing="mask")
    model.fit(gaps, y, times=times)
    stream = model.stream(20)
    for t in range(X.shape[1]):
        found = stream.step_proba(gaps[:, t], times[:, t])
    np.testing.assert_allclose(found, model.predict_proba(gaps, times=times), rtol=1e-6)


@pytest.mark.nojit
def test_wrong_steps_are_refused_and_change_nothing():
    stream = fitted(TARGETS["two classes"]).stream()
    stream.step_proba(X[0, 0])
    before = stream.state
    for wrong in (X[0, 0, :2], np.array([1.0, np.nan, 0]), np.array([1.0, np.inf, 0])):
        with pytest.raises(ValueError, match=r"^x "):
            stream.step_proba(wrong)
    np.testing.assert_array_equal(stream.state, before)
    assert stream.n_steps == 1


def test_a_regressor_has_no_probabilities():
    stream = LSTMRegressor(5, max_iter=1).fit(X, X[:, 0, 0]).stream()
    assert not hasattr(stream, "step_proba")
    with pytest.raises(AttributeError, match="step_proba"):
        stream.step_proba(X[0, 0])

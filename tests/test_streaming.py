"""One step at a time is the same as all at once."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from numba_lstm import LSTMClassifier, LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((20, 9, 3))
Y = np.stack([X[:, -1, 0], 5 + 2 * X[:, :, 1].sum(1)], axis=1)


def fitted(kind=LSTMRegressor, y=Y[:, 0], X=X, **options):
    return kind(7, max_iter=2, random_state=0, **options).fit(X, y)


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["one output", "two outputs"])
def test_steps_are_predictions_of_what_came_so_far(y, dtype):
    model = fitted(y=y, dtype=dtype)
    stream = model.stream()
    for t in range(X.shape[1]):
        expected = model.predict(X[:1, : t + 1])[0]
        found = stream.step(X[0, t])
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_array_equal(found, expected)
    assert stream.n_steps == X.shape[1]
    h, c = model.hidden_states(X[:1])
    np.testing.assert_array_equal(stream.state[0], h[0, -1])
    np.testing.assert_array_equal(stream.state[1], c[0, -1])


@pytest.mark.parametrize("hidden_size", [1, 16, 37, 64])
def test_many_streams_side_by_side(hidden_size):
    model = fitted(y=Y).set_params(hidden_size=hidden_size).fit(X, Y)
    stream = model.stream(len(X))
    for t in range(X.shape[1]):
        found = stream.step(X[:, t])
    np.testing.assert_array_equal(found, model.predict(X))
    assert stream.state[0].shape == (len(X), hidden_size)


@pytest.mark.nojit
def test_a_single_feature_may_be_a_number():
    series = X[:, :, 0]
    model = fitted(X=series, y=series[:, -1])
    stream, others = model.stream(), model.stream(20)
    assert [stream.step(x) for x in series[0]][-1] == model.predict(series[:1])[0]
    stream.reset()
    assert [stream.step([x]) for x in series[0]][-1] == model.predict(series[:1])[0]
    for t in range(9):
        found = others.step(series[:, t])
    np.testing.assert_array_equal(found, model.predict(series))
    with pytest.raises(ValueError, match=r"shape \(\), but"):
        fitted().stream().step(1.0)


@pytest.mark.nojit
def test_a_classifier_s_steps_are_labels():
    labels = np.array(["low", "high", "other"])[np.arange(20) % 3]
    model = fitted(LSTMClassifier, labels)
    stream = model.stream(20)
    for t in range(X.shape[1]):
        found = stream.step(X[:, t])
    np.testing.assert_array_equal(found, model.predict(X))


def test_outputs_at_every_step():
    model = fitted(y=np.cumsum(X[:, :, 0], axis=1), return_sequences=True)
    stream = model.stream()
    np.testing.assert_array_equal([stream.step(x) for x in X[3]], model.predict(X[3:4])[0])


@pytest.mark.nojit
def test_the_state_can_be_kept_and_put_back():
    stream = fitted().stream()
    for x in X[0, :4]:
        stream.step(x)
    state, twin, thawed = stream.state, copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))
    expected = [stream.step(x) for x in X[0, 4:]]
    assert [twin.step(x) for x in X[0, 4:]] == expected
    assert [thawed.step(x) for x in X[0, 4:]] == expected
    stream.state = state
    assert [stream.step(x) for x in X[0, 4:]] == expected
    stream.reset()
    assert stream.n_steps == 0
    assert not np.any(stream.state)
    assert [stream.step(x) for x in X[0]][4:] == expected


def test_copies_of_a_stream_with_gaps_go_their_own_ways():
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.nan, X)
    stream = fitted(X=gaps, missing="mask").stream()
    stream.step(X[0, 0])
    twins = copy.deepcopy(stream), copy.copy(stream), pickle.loads(pickle.dumps(stream))
    twins[1].step(100 + X[0, 1])
    nothing = np.full_like(X[0, 0], np.nan)
    assert stream.step(nothing) == twins[0].step(nothing) == twins[2].step(nothing)


def test_another_fit_does_not_reach_a_stream():
    model = fitted()
    stream, expected = model.stream(), model.predict(X[:1])[0]
    model.fit(X + 3, 10 * Y[:, 1])
    assert [stream.step(x) for x in X[0]][-1] == expected


@pytest.mark.nojit
def test_wrong_steps_are_refused_and_change_nothing():
    model = fitted()
    stream, others = model.stream(), model.stream(2)
    stream.step(X[0, 0])
    before = stream.state
    for wrong, error in (
        (X[0, 0, :2], ValueError),
        (X[:1, 0], ValueError),
        (np.array([1.0, np.nan, 0]), ValueError),
        (np.array([1.0, np.inf, 0]), ValueError),
        (np.array(["a", "b", "c"]), TypeError),
        (np.array([1j, 0, 0]), TypeError),
        ("abc", TypeError),
        (None, TypeError),
        ({"a": 1.0}, TypeError),
    ):
        with pytest.raises(error, match=r"^x "):
            stream.step(wrong)
    np.testing.assert_array_equal(stream.state, before)
    assert stream.n_steps == 1
    with pytest.raises(ValueError, match=r"needs \(2, 3\)"):
        others.step(X[0, 0])
    for wrong in ((before[0],), (before[0][:3], before[1]), (before[0] * np.nan, before[1])):
        with pytest.raises(ValueError, match="state"):
            stream.state = wrong
    np.testing.assert_array_equal(stream.state, before)
    with pytest.raises(NotFittedError):
        LSTMRegressor().stream()
    with pytest.raises(ValueError, match="n_streams=0"):
        model.stream(0)
    for wrong in (1.5, "two", True):
        with pytest.raises(TypeError, match="n_streams"):
            model.stream(wrong)


@pytest.mark.nojit
def test_a_stream_says_what_it_is():
    stream, others = fitted().stream(), fitted(LSTMClassifier, Y[:, 0] > 0).stream(20)
    assert repr(stream) == "Stream(LSTMRegressor, n_features=3, n_steps=0)"
    others.step(X[:, 0])
    assert repr(others) == "Stream(LSTMClassifier, n_features=3, n_streams=20, n_steps=1)"
    gaps = fitted(missing="mask").stream()
    assert repr(gaps) == "Stream(LSTMRegressor, n_features=3, n_steps=0)"

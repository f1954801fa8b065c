"""Objectives in threads and pickles, estimators made of their weights, and errors."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from objectives import LABELS, PROBLEMS, RAGGED, SMALL, WEIGHT, N, X, Y, moved, regressor
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from numba_lstm import LSTMClassifier, LSTMRegressor, objective


def test_calls_of_several_threads_and_a_pickle():
    fun = objective(regressor, RAGGED, Y)
    thetas = [moved(fun, seed) for seed in range(40)]
    expected = [fun(theta) for theta in thetas]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fun, thetas))
    again = pickle.loads(pickle.dumps(fun))
    assert repr(again) == repr(fun)
    for (loss, grad), (one, slope), theta in zip(expected, found, thetas, strict=True):
        assert loss == one == again(theta)[0]
        np.testing.assert_array_equal(grad, slope)
    assert again.estimator_from(thetas[0]).get_params() == regressor.get_params()


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_estimators_made_of_weights(name, dtype):
    """The same as a fitted one that is given these weights; and all is as it was."""
    estimator, X, y, _ = PROBLEMS[name]
    estimator = clone(estimator).set_params(dtype=dtype, max_iter=1)
    fun = objective(estimator, X, y, WEIGHT)
    assert not hasattr(estimator, "theta_")
    theta = moved(fun)
    before = theta.copy()
    made = fun.estimator_from(theta)
    np.testing.assert_array_equal(theta, before)
    assert made.get_params() == estimator.get_params()
    assert made.theta_.dtype == dtype
    assert (made.n_iter_, made.loss_curve_) == (0, [])
    fitted = estimator.fit(X, y, WEIGHT)
    fitted.theta_ = theta.astype(dtype)
    method = "predict" if isinstance(made, LSTMRegressor) else "predict_proba"
    for one, other in zip(getattr(made, method)(X), getattr(fitted, method)(X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert pickle.loads(pickle.dumps(made)).score(X, y) == made.score(X, y)
    made.set_params(warm_start=True).fit(X, y)
    assert made.n_iter_ == 1


def test_begins_where_fit_begins():
    one = LSTMRegressor(**SMALL, dtype="float64", learning_rate_init=1e-300, max_iter=1)
    fun = objective(one, X, Y)
    fitted = one.fit(X, Y)
    np.testing.assert_allclose(fun.theta0, fitted.theta_, rtol=0, atol=1e-299)
    loss = fun.loss(fun.theta0) - fun._loss.penalty(fun.theta0)
    assert fitted.loss_ == pytest.approx(loss, rel=1e-13)


def test_goes_on_from_fitted_weights():
    fitted = LSTMRegressor(**SMALL, max_iter=2).fit(X, Y)
    theta = fitted.theta_.copy()
    more = np.concatenate([X, 5 * X])
    fun = objective(fitted, more, np.concatenate([Y, Y]), from_fitted=True)
    np.testing.assert_array_equal(fun.theta0, theta)
    assert fun.theta0.dtype == np.float64
    made = fun.estimator_from(fun.theta0)
    np.testing.assert_array_equal(made.predict(more), fitted.predict(more))
    np.testing.assert_array_equal(fitted.theta_, theta)
    assert fitted.dtype == "float32"
    labelled = LSTMClassifier(**SMALL, max_iter=1).fit(X, LABELS)
    fun = objective(labelled, X[:2], LABELS[:2], from_fitted=True)
    assert fun.estimator_from(fun.theta0).classes_.tolist() == ["a", "b", "c"]


def test_columns_keep_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, :, 0], columns=list("abcde"))
    made = (fun := objective(regressor, frame, Y)).estimator_from(fun.theta0)
    assert made.feature_names_in_.tolist() == list("abcde")
    assert made.n_features_in_ == 5
    assert made.predict(frame).shape == (N,)


def test_the_random_state_that_was_given_is_not_drawn_from():
    state = np.random.RandomState(3)
    fun = objective(LSTMRegressor(3, random_state=state), X, Y)
    fun.estimator_from(fun.theta0)
    assert state.randint(1000) == np.random.RandomState(3).randint(1000)


RANDOM = {
    "dropout": 0.2, "input_dropout": 0.1, "recurrent_dropout": 0.1, "zoneout_hidden": 0.1,
    "zoneout_cell": 0.1, "stateful": True, "tbptt_steps": 2, "early_stopping": True,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), RANDOM.items())
def test_what_is_no_function_of_the_weights_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}.*one function.*Set {name}="):
        objective(LSTMRegressor(**SMALL, **{name: value}), X, Y)


def test_what_is_refused():
    fun = objective(regressor, X, Y)
    for wrong in (fun.theta0[:-1], fun.theta0[np.newaxis], 1.0):
        for call in (fun, fun.loss, fun.grad, fun.residuals, fun.jacobian, fun.estimator_from):
            with pytest.raises(ValueError, match="theta has shape"):
                call(wrong)
    with pytest.raises(ValueError, match="v has shape"):
        fun.hessp(fun.theta0, fun.theta0[1:])
    with pytest.raises(ValueError, match="contiguous array of shape"):
        fun.named(fun.theta0.tolist())
    for value in (np.nan, np.inf, 1e30):
        with pytest.raises(ValueError, match="NaN, infinite or too large"):
            fun.estimator_from(np.full(fun.theta0.size, value))
    with pytest.raises(TypeError, match="Of a pipeline"):
        objective(make_pipeline(regressor), X, Y)
    with pytest.raises(NotFittedError):
        objective(regressor, X, Y, from_fitted=True)
    with pytest.raises(ValueError, match="hidden_size"):
        objective(LSTMRegressor(0), X, Y)
    with pytest.raises(ValueError, match="12 sequences"):
        objective(regressor, X, Y[1:])
    for name in ("huber", "two classes", "several labels"):
        other = objective(*PROBLEMS[name][:3])
        for call in (other.residuals, other.jacobian):
            with pytest.raises(ValueError, match="squared_error"):
                call(other.theta0)


def test_an_objective_says_what_it_is():
    fun = objective(LSTMRegressor(3), np.zeros((7, 5, 2)), np.arange(7))
    assert (
        repr(fun) == f"Objective(LSTMRegressor, n_weights={4 * 3 * (2 + 3 + 1) + 4}, n_samples=7)"
    )

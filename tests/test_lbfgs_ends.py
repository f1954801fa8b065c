"""How fits with solver="lbfgs" end: told to, interrupted, diverged, without a way down."""

import itertools
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from numba_lstm import LSTMRegressor, objective
from numba_lstm.training.penalised import PenalisedLoss

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 6, 2))
Y = X[:, -1, 0] + X[:, -2, 1]


def regressor(**options):
    settings = {"hidden_size": 4, "solver": "lbfgs", "max_iter": 15, "random_state": 0}
    return LSTMRegressor(**settings | options)


def test_callbacks_see_an_iteration_for_an_epoch():
    pytest.importorskip("sklearn.callback")
    seen = []

    class Watcher:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            seen.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            seen.append(f"end {context.task_name} {fitted_estimator.score(X, y):.5f}")
            return len(seen) > 8

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = regressor(max_iter=10).set_callbacks(Watcher()).fit(X, Y)
    assert model.n_iter_ == 4
    assert [line.split()[0] for line in seen] == ["begin"] + ["begin", "end"] * 4 + ["end"]
    assert seen[2] != seen[4]
    assert seen[-2] == f"end epoch {model.score(X, Y):.5f}"


def test_interrupted_it_keeps_the_last_iteration(monkeypatch):
    calls = []
    compute = PenalisedLoss.value_and_grad

    def interrupted(self, theta):
        calls.append(theta)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return compute(self, theta)

    monkeypatch.setattr(PenalisedLoss, "value_and_grad", interrupted)
    model = regressor(dtype="float64", warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert 3 < model.n_iter_ < 9
    assert model.loss_ == model.loss_curve_[-1] < model.loss_curve_[0]
    fun = objective(model, X, Y, from_fitted=True)
    loss = fun.loss(model.theta_) - fun._loss.penalty(model.theta_)
    assert loss == pytest.approx(model.loss_, rel=1e-12)
    model.fit(X, Y)
    assert model.n_iter_ > 9


def test_divergence_keeps_the_iteration_before(monkeypatch):
    calls = []
    compute = PenalisedLoss.value_and_grad

    def explodes(self, theta):
        calls.append(theta)
        loss, grad = compute(self, theta)
        return (np.inf if len(calls) == 6 else loss), grad

    monkeypatch.setattr(PenalisedLoss, "value_and_grad", explodes)
    with pytest.warns(ConvergenceWarning, match="diverged in iteration"):
        model = regressor(dtype="float64").fit(X, Y)
    assert len(calls) == 6
    assert 1 < model.n_iter_ < 6
    assert model.score(X, Y) > 0


@pytest.mark.parametrize("right", [0, 6])
def test_a_line_search_that_fails_is_told_of(right, monkeypatch):
    compute = PenalisedLoss.value_and_grad
    calls = []

    def misleads(self, theta):
        calls.append(theta)
        loss, grad = compute(self, theta)
        # Uphill, and not so far that the loss might be less again behind the hill.
        return loss, grad if len(calls) <= right else -1e-6 * grad

    monkeypatch.setattr(PenalisedLoss, "value_and_grad", misleads)
    with pytest.warns(ConvergenceWarning, match="no step made the loss less") as caught:
        model = regressor(dtype="float64", tol=0.0).fit(X, Y)
    assert caught[0].filename == __file__
    assert 1 <= model.n_iter_ < 15
    assert model.loss_ == min(model.loss_curve_)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_of_any_size(dtype, standardize):
    """A finite result, or an error beforehand, as for the other solvers."""
    refused = 0
    for size, target in itertools.product((1e-300, 1, 1e30, 1e300), (1e-300, 1, 1e18, 1e150)):
        model = regressor(dtype=dtype, standardize=standardize, n_jobs=1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(X * size, Y * target)
        except ValueError:
            refused += 1
            assert not hasattr(model, "theta_")
            continue
        assert np.isfinite(model.theta_).all()
        assert np.isfinite(model.predict(X * size)).all()
    assert refused < 10

"""SciPy's optimisers on the training loss, each for what it is good at."""

import numpy as np
import pytest
from scipy.optimize import (
    Bounds,
    basinhopping,
    check_grad,
    differential_evolution,
    least_squares,
    minimize,
)
from scipy.sparse.linalg import LinearOperator, eigsh

from numba_lstm import LSTMClassifier, LSTMRegressor, objective

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 5, 2))
Y = X[:, -1, 0] * X[:, -2, 1] + 3
NETWORK = {"hidden_size": 4, "alpha": 1e-5, "n_jobs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def fun():
    return objective(LSTMRegressor(**NETWORK), X, Y)


def r2(fun, theta):
    return fun.estimator_from(theta).score(X, Y)


GRADIENTS = {
    "L-BFGS-B": {"maxiter": 150},
    "BFGS": {"maxiter": 150},
    "CG": {"maxiter": 300},
    "TNC": {"maxfun": 1500},
    "SLSQP": {"maxiter": 100},
}
HESSIANS = {
    "Newton-CG": {"maxiter": 40},
    "trust-ncg": {"maxiter": 100},
    "trust-krylov": {"maxiter": 60},
    "trust-constr": {"maxiter": 150},
}


@pytest.mark.parametrize("method", GRADIENTS)
def test_minimisers_that_take_gradients(fun, method):
    found = minimize(fun, fun.theta0, jac=True, method=method, options=GRADIENTS[method])
    assert found.fun < 0.02 < 0.5 < fun.loss(fun.theta0)
    assert r2(fun, found.x) > 0.98


@pytest.mark.parametrize("method", HESSIANS)
def test_minimisers_that_take_products_with_the_hessian(fun, method):
    found = minimize(
        fun, fun.theta0, jac=True, hessp=fun.hessp, method=method, options=HESSIANS[method]
    )
    assert r2(fun, found.x) > 0.98


def test_loss_and_gradient_in_two_functions(fun):
    assert check_grad(fun.loss, fun.grad, fun.theta0) < 1e-6
    found = minimize(fun.loss, fun.theta0, jac=fun.grad, options={"maxiter": 3})
    assert found.fun < fun.loss(fun.theta0)


@pytest.mark.parametrize("method", ["trf", "lm"])
def test_least_squares(fun, method):
    found = least_squares(fun.residuals, fun.theta0, fun.jacobian, method=method, max_nfev=120)
    assert r2(fun, found.x) > 0.95
    assert found.cost == pytest.approx(fun.loss(found.x), rel=1e-12)


@pytest.mark.parametrize("workers", [1, 2])
def test_differential_evolution(workers):
    """A network of one unit: without gradients, from nothing but bounds."""
    levels = X[:, :, :1].cumsum(axis=1)
    y = np.tanh(levels[:, -1, 0])
    tiny = objective(LSTMRegressor(1, alpha=0, n_jobs=1, random_state=0), levels, y)
    found = differential_evolution(
        tiny.loss, [(-3, 3)] * tiny.theta0.size, maxiter=25, popsize=6, polish=False,
        seed=0, workers=workers, updating="deferred",
    )  # fmt: skip
    assert found.fun < 0.2
    assert tiny.estimator_from(found.x).score(levels, y) > 0.8
    if workers == 2:
        alone = differential_evolution(
            tiny.loss, [(-3, 3)] * tiny.theta0.size, maxiter=25, popsize=6, polish=False,
            seed=0, updating="deferred",
        )  # fmt: skip
        np.testing.assert_array_equal(found.x, alone.x)


def test_basinhopping(fun):
    local = {"jac": True, "method": "L-BFGS-B", "options": {"gtol": 0.02}}
    one = minimize(fun, fun.theta0, **local)
    found = basinhopping(fun, fun.theta0, niter=5, stepsize=0.1, minimizer_kwargs=local, seed=0)
    assert found.fun < one.fun
    assert found.fun == fun.loss(found.x)


def test_the_loss_alone_is_that_beside_the_gradient(fun):
    rng = np.random.default_rng(0)
    for _ in range(20):
        theta = fun.theta0 + 0.3 * rng.standard_normal(fun.theta0.size)
        assert fun(theta)[0] == fun.loss(theta)


def test_bounds_by_name_hold(fun):
    lower, upper = np.full(fun.theta0.size, -1.5), np.full(fun.theta0.size, 1.5)
    for bound in (lower, upper):
        fun.named(bound)["head_bias"][...] = 0
        fun.named(bound)["weight_ih_l0"][:, 1] = 0  # the second feature is not to count
    found = minimize(
        fun, np.clip(fun.theta0, lower, upper), jac=True, method="L-BFGS-B",
        bounds=Bounds(lower, upper), options={"maxiter": 20},
    )  # fmt: skip
    model = fun.estimator_from(found.x)
    assert np.abs(model.theta_).max() <= 1.5
    assert model.parameters_["head_bias"] == 0
    other = X.copy()
    other[:, :, 1] = 7
    np.testing.assert_array_equal(model.predict(other), model.predict(X))


def test_curvature_at_the_minimum():
    """At a minimum no direction of the Hessian goes down; the penalty lifts them all."""
    model = LSTMClassifier(3, alpha=0.1, random_state=0, dtype="float64", n_jobs=1)
    fun = objective(model, X, Y > 3)
    found = minimize(fun, fun.theta0, jac=True, hessp=fun.hessp, method="trust-ncg", tol=1e-9)
    assert np.abs(fun.grad(found.x)).max() < 1e-6
    P = fun.theta0.size
    H = LinearOperator((P, P), matvec=lambda v: fun.hessp(found.x, v), dtype=np.float64)
    least = eigsh(H, 1, which="SA", return_eigenvectors=False, v0=np.ones(P))
    assert least > -1e-8
    dense = np.column_stack([H @ e for e in np.eye(P)])
    np.testing.assert_allclose(dense, dense.T, rtol=0, atol=1e-8)

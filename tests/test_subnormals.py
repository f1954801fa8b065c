"""Numbers too small for all of their digits: zero in training, themselves everywhere else."""

import platform
import threading

import numpy as np
import pytest

from numba_lstm import LSTMRegressor
from numba_lstm.training.optimizers import Optimizer, SolverSettings

TAKES_THEM_FOR_ZERO = platform.machine() in ("x86_64", "AMD64", "i686")
pytestmark = pytest.mark.skipif(
    not TAKES_THEM_FOR_ZERO, reason="other processors are told nothing, and lose no time"
)


def subnormal(x):
    return (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)


def test_gradients_that_fade_become_zero(make_problem):
    """Those of the first cell, of which each step takes off half."""
    fading = []
    for T in range(20, 400, 10):
        p = make_problem([T], F=1, H=8, K=1, dtype=np.float32, learned_state=True)
        _, grad = p.network.loss_and_grad(0.1 * p.theta, p.batch)
        assert np.abs(grad).max() > 1e-9
        fading.append(p.layout.views(grad)[0, "c_0"][0].copy())
    fading = np.array(fading)
    assert fading[0].all()
    assert not fading[-1].any()
    assert not subnormal(fading).any()


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop"])
def test_moments_of_weights_without_gradient_become_zero(solver):
    """0.9 times the least number of all is, rounded, that number: for ever."""
    settings = SolverSettings(solver=solver, alpha=0.0)
    optimizer = Optimizer(np.ones(40, np.float32), settings)
    theta, grad = np.ones(40, np.float32), np.full(40, 1e-3, np.float32)
    for _ in range(3000):
        assert optimizer.step(theta, grad, 1e-6)
        grad[:20] = 0
    for moment in (optimizer.first_moment, optimizer.second_moment):
        assert not subnormal(moment).any()
    if solver != "rmsprop":
        assert not optimizer.first_moment[:20].any()
        assert optimizer.first_moment[20:].all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_whoever_fits_keeps_such_numbers(n_jobs):
    X = np.random.default_rng(0).standard_normal((40, 5, 2)).astype(np.float32)
    found = []

    def fit():
        model = LSTMRegressor(4, max_iter=2, n_jobs=n_jobs, random_state=0)
        model.fit(X, X[:, -1, 0]).predict(X)
        model.partial_fit(X, X[:, -1, 0])
        found.append(np.full(64, 1e-38, np.float32) * np.float32(0.1))

    fit()
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert len(found) == 2
    assert all(subnormal(product).all() for product in found)


@pytest.mark.parametrize("solver", ["adam", "rmsprop"])
@pytest.mark.parametrize("size", [1e-15, 3e-18, 3e-19, 1e-25, 1e-38])
def test_no_gradient_moves_a_weight_far(solver, size):
    """Not even one whose square is 0, by an epsilon of nearly that."""
    settings = SolverSettings(solver=solver, alpha=0.0, epsilon=1e-30, clip_norm=None)
    optimizer = Optimizer(np.ones(4, np.float32), settings)
    theta = np.zeros(4, np.float32)
    for _ in range(50):
        assert optimizer.step(theta, np.full(4, size, np.float32), 1e-3)
    assert np.abs(theta).max() <= 50 * 1e-3 * 10.1  # RMSprop's first step is ten of them

"""Steps of many models at once against the CPU's optimiser, model by model."""

import numpy as np
import pytest

from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.optimizers import Optimizers
from numba_lstm.training.optimizers import Optimizer, SolverSettings

pytestmark = pytest.mark.nojit

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SETTINGS = [
    SolverSettings("adam", alpha=0.1),
    SolverSettings("adam", alpha=0, clip_norm=None, beta_1=0.7, beta_2=0.9, epsilon=0.01),
    SolverSettings("sgd", alpha=0.2, momentum=0.5, clip_norm=0.3),
    SolverSettings("sgd", momentum=0.8, nesterovs_momentum=False),
    SolverSettings("rmsprop", alpha=0.05, epsilon=0.1, clip_norm=100),
]
M = len(SETTINGS)


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def optimizers(rng, size, dtype):
    """Two equal lists of them, for the device and to compare with."""
    mask = (rng.random(size) < 0.7).astype(dtype)
    return [[Optimizer(mask, settings) for settings in SETTINGS] for _ in range(2)]


def compare(found, expected, dtype):
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, tolerance, tolerance)


@DTYPES
def test_steps_of_models_with_settings_of_their_own(rng, dtype):
    size, rates = 7, 0.01 * (1 + np.arange(M))
    ours, theirs = optimizers(rng, size, dtype)
    expected = rng.standard_normal((M, size)).astype(dtype)
    theta, together = cuda.to_device(expected), Optimizers(ours)
    for step in range(3):
        if step == 1:  # and on from there, as after a fit that goes on
            together.write_back()
            together = Optimizers(ours)
        grad = rng.standard_normal((M, size)).astype(dtype)
        loss = cuda.to_device(np.zeros(M))
        together.step(theta, cuda.to_device(grad), loss, cuda.to_device(rates))
        for m in range(M):
            assert theirs[m].step(expected[m], grad[m], rates[m])
        compare(theta.copy_to_host(), expected, dtype)
    together.write_back()
    assert not together.diverged.copy_to_host().any()
    for own, other in zip(ours, theirs, strict=True):
        assert own.n_steps == other.n_steps == 3
        compare(own.first_moment, other.first_moment, dtype)
        compare(own.second_moment, other.second_moment, dtype)


def test_the_norm_of_a_long_gradient(rng):
    """Of more than one block, with parts that are not full."""
    size = 1100
    mask = np.ones(size, np.float32)
    settings = SolverSettings("sgd", clip_norm=0.5, momentum=0, alpha=0)
    grad = rng.standard_normal((2, size)).astype(np.float32)
    theta, rates = cuda.to_device(np.zeros((2, size), np.float32)), cuda.to_device(np.ones(2))
    together = Optimizers([Optimizer(mask, settings) for _ in range(2)])
    together.step(theta, cuda.to_device(grad), cuda.to_device(np.zeros(2)), rates)
    norm = np.linalg.norm(grad.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(theta.copy_to_host(), -0.5 * grad / norm, 1e-6)


@DTYPES
def test_models_that_diverge_or_are_frozen_stay_as_they_are(rng, dtype):
    size = 5
    ours, theirs = optimizers(rng, size, dtype)
    expected = rng.standard_normal((M, size)).astype(dtype)
    theta, together, rates = cuda.to_device(expected), Optimizers(ours), np.full(M, 0.1)
    frozen = np.zeros(M, np.int8)
    frozen[1] = 1
    together.frozen.copy_to_device(frozen)
    for step in range(3):
        grad, loss = rng.standard_normal((M, size)).astype(dtype), np.ones(M)
        if step == 1:
            grad[0, 3], loss[2], grad[3, 0] = np.nan, np.inf, -np.inf
            loss[1] = np.nan  # of which nothing is asked
        arrays = (cuda.to_device(array) for array in (grad, loss, rates))
        together.step(theta, *arrays)
        for m in range(M):
            if m == 4 or (m != 1 and step == 0):
                assert theirs[m].step(expected[m], grad[m], rates[m])
    compare(theta.copy_to_host(), expected, dtype)
    np.testing.assert_array_equal(together.diverged.copy_to_host(), [1, 0, 1, 1, 0])
    np.testing.assert_array_equal(together.n_steps.copy_to_host(), [1, 0, 1, 1, 3])
    together.write_back()
    for own, other in zip(ours, theirs, strict=True):
        compare(own.first_moment, other.first_moment, dtype)
        compare(own.second_moment, other.second_moment, dtype)

"""Biases, activations and losses against NumPy and the CPU's functions."""

import numpy as np
import pytest

from numba_lstm import losses as of_the_cpu
from numba_lstm.cuda import head
from numba_lstm.cuda.device import cuda

pytestmark = pytest.mark.nojit

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SPARE = 2

device = cuda.to_device


@pytest.fixture
def rng():
    return np.random.default_rng(13)


def drawn(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


FUNCTIONS = {
    head.NOTHING: (lambda a: a, lambda h: np.ones_like(h)),
    head.RELU: (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    head.TANH: (np.tanh, lambda h: 1 - h * h),
}


@DTYPES
@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("width", [1, 5, 40])
def test_biases_and_activations(rng, dtype, activation, width):
    bounds, at, function = np.array([0, 4, 4, 13]), 2, FUNCTIONS[activation]
    rows, theta = drawn(rng, dtype, 13 + SPARE, width), drawn(rng, dtype, 3, at + width + 1)
    rows[1, 0] = -theta[0, at]  # 0, where the slope of the ReLU is 0
    found = device(rows)
    head.activate(found, device(theta), at, device(bounds), 9, activation)
    model = np.repeat(np.arange(3), np.diff(bounds))
    h, tolerance = found.copy_to_host(), 8 * np.finfo(dtype).eps
    expected = function[0](rows[:13] + theta[model, at : at + width])
    np.testing.assert_allclose(h[:13], expected, tolerance, tolerance)
    np.testing.assert_array_equal(h[13:], rows[13:])
    d_rows = drawn(rng, dtype, 13 + SPARE, width)
    d_found = device(d_rows)
    head.activate_backward(d_found, found, device(bounds), 9, activation)
    d_expected = d_rows[:13] * function[1](h[:13])
    np.testing.assert_allclose(d_found.copy_to_host()[:13], d_expected, tolerance, tolerance)
    np.testing.assert_array_equal(d_found.copy_to_host()[13:], d_rows[13:])


def test_nan_goes_through_the_relu():
    rows, theta = device(np.array([[np.nan, -1.0]])), device(np.zeros((1, 2)))
    head.activate(rows, theta, 0, device(np.array([0, 1])), 1, head.RELU)
    np.testing.assert_array_equal(rows.copy_to_host(), [[np.nan, 0]])


KINDS = [
    (of_the_cpu.SQUARED_ERROR, 3),
    (of_the_cpu.ABSOLUTE_ERROR, 1),
    (of_the_cpu.HUBER, 2),
    (of_the_cpu.QUANTILE, 2),
    (of_the_cpu.BINARY_LOG_LOSS, 2),
    (of_the_cpu.LOG_LOSS, 4),
]


@DTYPES
@pytest.mark.parametrize(("kind", "K"), KINDS)
def test_losses(rng, dtype, kind, K):
    """Of two models, and of one without rows between them."""
    bounds, most, parameter = np.array([0, 5, 5, 12]), 7, 0.3
    Q, n = 12, head.n_partial(most)
    out, weight = drawn(rng, dtype, Q + SPARE, K), rng.random(Q + SPARE).astype(dtype)
    y = drawn(rng, dtype, Q + SPARE, K)
    if kind == of_the_cpu.BINARY_LOG_LOSS:
        y = (y > 0).astype(dtype)
    elif kind == of_the_cpu.LOG_LOSS:
        y = rng.integers(K, size=(Q + SPARE, 1)).astype(dtype)
    weight[3], out[3] = 0, np.nan  # which adds nothing
    if kind != of_the_cpu.LOG_LOSS:
        y[6, 0] = np.nan  # which is not known
    expected, d_expected = np.zeros(Q, dtype), np.zeros((Q, K), dtype)
    of_the_cpu.all_losses(
        *(kind, dtype(parameter), out[:Q], y[:Q], weight[:Q], d_expected, expected)
    )
    d_out, row_loss = device(np.full_like(out, 9)), device(np.full_like(weight, 9))
    partial = device(np.full((3, n + 1), np.nan))
    on_device = device(out), device(y), device(weight)
    head.losses(*(kind, parameter, *on_device, d_out, row_loss, partial, device(bounds), most))
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(row_loss.copy_to_host()[:Q], expected, tolerance)
    np.testing.assert_allclose(d_out.copy_to_host()[:Q], d_expected, tolerance, tolerance)
    assert (row_loss.copy_to_host()[Q:] == 9).all()
    assert (d_out.copy_to_host()[Q:] == 9).all()
    loss, total = device(np.zeros(3)), device(np.array([1.0, 2.0, 3.0]))
    head.add_losses(loss, partial, most, total, 0.5)
    sums = [expected[s:e].sum(dtype=np.float64) for s, e in ((0, 5), (5, 5), (5, 12))]
    np.testing.assert_allclose(loss.copy_to_host(), sums, 1e-13 if dtype == np.float64 else 1e-6)
    np.testing.assert_array_equal(total.copy_to_host(), [1, 2, 3] + 0.5 * loss.copy_to_host())


def test_a_loss_does_not_depend_on_the_room_for_it(rng):
    Q, n_blocks = 135, []
    out, y = drawn(rng, np.float32, Q, 2), drawn(rng, np.float32, Q, 2)
    weight = rng.random(Q).astype(np.float32)
    found = []
    for most in (Q, 300):
        n, loss = head.n_partial(most), device(np.zeros(1))
        partial, bounds = device(np.zeros((1, n))), device(np.array([0, Q]))
        given = device(out), device(y), device(weight)
        head.losses(
            *(of_the_cpu.SQUARED_ERROR, 0.5, *given, device(out), device(np.zeros(Q))),
            *(partial, bounds, most),
        )
        head.add_losses(loss, partial, most, device(np.zeros(1)), 1.0)
        found.append(loss.copy_to_host()[0])
        n_blocks.append(n)
    assert n_blocks == [-(-Q // head.THREADS), -(-300 // head.THREADS)]
    assert found[0] == found[1]
    expected = (weight[:, None] * (out.astype(np.float64) - y) ** 2).mean(axis=1).sum()
    np.testing.assert_allclose(found[0], expected, 1e-6)

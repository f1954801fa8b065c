"""The network on a GPU against the one on the CPU: every option that it has."""

import itertools

import numpy as np
import pytest
from conftest import KINDS

from numba_lstm.cpu.allocation import Drops
from numba_lstm.cuda.network import CudaNetwork
from numba_lstm.network import Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch

pytestmark = pytest.mark.nojit


def networks(layout, dtype="float64", dropout=(0, 0, 0), per_step=False, loss="squared_error"):
    rng = np.random.default_rng(1)
    F = layout.n_inputs
    options = {
        "per_step": per_step,
        "loss": KINDS[loss],
        "loss_parameter": 0.4,
        "mean": rng.standard_normal(F),
        "scale": rng.random(F) + 0.5,
        "dropout": Drops(*dropout),
    }
    dtype = np.dtype(dtype)
    return CudaNetwork(layout, dtype, **options), Network(layout, dtype, n_threads=1, **options)


def problem(layout, lengths, per_step=False, dtype="float64", seed=0):
    """A theta, and a batch whose rows lie among others."""
    rng = np.random.default_rng(seed)
    theta = initialise(layout, rng, np.dtype(dtype)) + 0.3 * rng.standard_normal(layout.size)
    lengths = np.array(lengths)
    starts = np.cumsum(lengths + 1) - lengths
    Q = lengths.sum() if per_step else len(lengths)
    values = rng.standard_normal((starts[-1] + lengths[-1] + 1, layout.n_inputs))
    y, weight = rng.standard_normal((Q, layout.n_outputs)), rng.random(Q) + 0.5
    batch = Batch(values, starts, lengths, y.astype(dtype), weight.astype(dtype))
    return theta.astype(dtype), batch


def assert_equal(found, expected, dtype="float64"):
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"atol": 1e-5}
    np.testing.assert_allclose(found, expected, **tolerance)


CASES = {
    "plain": ({}, {}),
    "float32": ({}, {"dtype": "float32"}),
    "every step": ({}, {"per_step": True, "loss": "huber"}),
    "reverse": ({"direction": "reverse"}, {}),
    "stack": ({"hidden_sizes": (3, 2)}, {}),
    "residual": ({"hidden_sizes": (3, 3), "residual": True}, {}),
    "both": ({"direction": "both"}, {}),
    "both stacked": ({"direction": "both", "hidden_sizes": (2, 3)}, {"per_step": True}),
    "sum": ({"direction": "both", "merge": "sum", "hidden_sizes": (2, 2)}, {}),
    "mean, residual": (
        {"direction": "both", "merge": "mean", "hidden_sizes": (2, 2), "residual": True},
        {"per_step": True},
    ),
    "concat, residual": (
        {"direction": "both", "hidden_sizes": (2, 2), "residual": True},
        {},
    ),
    "peephole, limit": ({"peephole": True, "limit": 0.7}, {}),
    "coupled": ({"coupled": True, "bias": False}, {}),
    "learned state": ({"learned_state": True}, {}),
    "mean pooling": ({"pooling": "mean"}, {}),
    "max pooling": ({"pooling": "max", "direction": "both", "merge": "sum"}, {}),
    "attention": ({"pooling": "attention"}, {}),
    "hidden head": ({"head_size": 3, "head_activation": "tanh"}, {}),
    "many inputs": ({"n_inputs": 5}, {}),
    "dropout": ({"hidden_sizes": (3, 2)}, {"dropout": (0.3, 0.4, 0.5)}),
    "zoneout": ({"hidden_sizes": (3, 2), "zoneout": (0.3, 0.4)}, {}),
    "zoneout of h, both": ({"direction": "both", "zoneout": (0.5, 0)}, {"dtype": "float32"}),
    "zoneout of c, all else": (
        {"zoneout": (0, 0.6), "peephole": True, "limit": 0.7, "learned_state": True},
        {"dropout": (0.3, 0, 0.5), "per_step": True},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_loss_gradient_and_predictions_are_the_cpus(name):
    architecture, options = CASES[name]
    layout = Layout(**({"n_inputs": 2, "hidden_sizes": (3,), "n_outputs": 2} | architecture))
    dtype, per_step = options.get("dtype", "float64"), options.get("per_step", False)
    gpu, cpu = networks(layout, **options)
    theta, batch = problem(layout, [2, 2, 1], per_step, dtype)
    assert_equal(gpu.predict(theta, batch), cpu.predict(theta, batch), dtype)
    for network in gpu, cpu:
        network.found = network.loss_and_grad(theta, batch, generator=np.random.default_rng(3))
    assert_equal(gpu.found[0], cpu.found[0], dtype)
    for key, place in layout.places.items():
        assert_equal(gpu.found[1][place], cpu.found[1][place], dtype), key


@pytest.mark.parametrize("chances", [(0, 0), (0.3, 0.6)])
def test_windows_of_longer_sequences(chances):
    layout = Layout(2, (3, 2), 1, learned_state=True, zoneout=chances)
    gpu, cpu = networks(layout)
    theta, batch = problem(layout, [3, 2])
    state = gpu.first_state(theta, 2)
    for network in gpu, cpu:
        begin, end, d_state = state.rows(slice(None)), network.no_state(2), network.no_state(2)
        for part in (*begin, *d_state):
            for k, array in enumerate(part):
                array += 0.1 * (k + 1)
        grad = np.empty_like(theta)
        loss = network.loss_and_grad_of_window(
            theta, batch, grad, 99, state=begin, end=end, d_state=d_state, first_step=5
        )
        network.found = [loss, grad, *itertools.chain(*end, *d_state)]
        moved = begin.rows(slice(None))
        network.advance(theta, batch, moved, seed=98, first_step=7)
        network.found += [network.predict(theta, batch, moved), *itertools.chain(*moved)]
    for found, expected in zip(gpu.found, cpu.found, strict=True):
        assert_equal(found, expected)


def test_states_and_attention():
    layout = Layout(2, (3, 2), 1, direction="both", pooling="attention")
    gpu, cpu = networks(layout)
    theta, batch = problem(layout, [2, 1])
    assert_equal(gpu.attention(theta, batch), cpu.attention(theta, batch))
    for layer in 0, 1:
        for found, expected in zip(
            gpu.states(theta, batch, layer), cpu.states(theta, batch, layer), strict=True
        ):
            assert_equal(found, expected)

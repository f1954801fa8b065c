"""Checks of the network on a GPU against the one on the CPU, of any size."""

import numpy as np

from numba_lstm import LSTMRegressor
from numba_lstm.cpu.allocation import Drops
from numba_lstm.cuda.network import CudaNetwork
from numba_lstm.losses import SQUARED_ERROR
from numba_lstm.network import Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch

# Of outputs and states, and of gradients: in units of the largest.
TOLERANCES = {"float64": (1e-11, 1e-9), "float32": (2e-5, 2e-4)}
# The same of float32 with products of rounded numbers.
ROUNDED = {"tf32": (5e-3, 2e-2), "bf16": (4e-2, 1.5e-1)}


def close(found, expected, tolerance):
    """Numbers are the same up to a part of the largest of them."""
    assert found.shape == expected.shape
    assert np.isfinite(expected).all()
    largest = max(np.abs(expected).max(initial=0), 1e-6)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


class Case:
    """Both networks, a theta and a batch of sequences, longest first."""

    def __init__(
        self, lengths, F, sizes, dtype, precision="",
        *, per_step=False, dropout=(0, 0, 0), **options,
    ):  # fmt: skip
        rng = np.random.default_rng(0)
        self.tolerances = ROUNDED.get(precision) or TOLERANCES[np.dtype(dtype).name]
        self.layout, self.dtype = Layout(F, sizes, 3, **options), np.dtype(dtype)
        shared = {
            "per_step": per_step,
            "loss": SQUARED_ERROR,
            "loss_parameter": 0.0,
            "mean": rng.standard_normal(F),
            "scale": rng.random(F) + 0.5,
            "dropout": Drops(*dropout),
        }
        self.gpu = CudaNetwork(self.layout, self.dtype, precision=precision, **shared)
        self.cpu = Network(self.layout, self.dtype, n_threads=1, **shared)
        self.theta = initialise(self.layout, rng, self.dtype)
        lengths = np.sort(np.array(lengths))[::-1]
        Q = lengths.sum() if per_step else len(lengths)
        values = rng.standard_normal((lengths.sum(), F)).astype(self.dtype)
        y = rng.standard_normal((Q, 3)).astype(self.dtype)
        weight = ((rng.random(Q) + 0.5) / Q).astype(self.dtype)
        self.batch = Batch(values, np.cumsum(lengths) - lengths, lengths, y, weight)

    def gradient(self, network):
        generator = np.random.default_rng(3)  # of the masks
        return network.loss_and_grad(self.theta, self.batch, generator=generator)

    def check(self):
        """Loss, gradient, predictions, and states of every layer."""
        near, far = self.tolerances
        found, expected = (n.predict(self.theta, self.batch) for n in (self.gpu, self.cpu))
        close(found, expected, near)
        found, expected = self.gradient(self.gpu), self.gradient(self.cpu)
        np.testing.assert_allclose(found[0], expected[0], rtol=far)
        for place in self.layout.places.values():
            close(found[1][place], expected[1][place], far)
        for layer in range(len(self.layout.hidden_sizes)):
            both = (n.states(self.theta, self.batch, layer) for n in (self.gpu, self.cpu))
            for own, other in zip(*both, strict=True):
                close(own, other, near)

    def bits(self):
        """What the GPU computes, to the last bit."""
        loss, gradient = self.gradient(self.gpu)
        outputs = self.gpu.predict(self.theta, self.batch)
        return np.float64(loss).tobytes() + gradient.tobytes() + outputs.tobytes()


def check_fit(n, steps, **options):
    """A fit on the GPU ends where one on the CPU does, and goes on from there."""
    rng = np.random.default_rng(0)
    X = [rng.standard_normal((t, 3)) for t in rng.integers(1, steps + 1, n)]
    y = np.array([x.sum() for x in X])
    options = {"dtype": "float64", "random_state": 0, "max_iter": 2} | options
    gpu, cpu = (LSTMRegressor(**options, device=d).fit(X, y) for d in ("cuda", "cpu"))
    np.testing.assert_allclose(gpu.loss_curve_, cpu.loss_curve_, rtol=1e-8)
    close(gpu.theta_, cpu.theta_, 1e-7)
    close(gpu.predict(X), gpu.set_params(device="cpu").predict(X), 1e-9)

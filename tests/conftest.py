"""What the tests share."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import config

from numba_lstm import losses
from numba_lstm.cpu.allocation import Drops
from numba_lstm.inputs import check_sequences
from numba_lstm.network import Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch

# Kernels for GPUs run in a simulator, which is chosen before Numba is imported:
# NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 pytest tests/simulator. tests/test_cuda.py does it.
if config.ENABLE_CUDASIM:
    sys.path.insert(0, str(Path(__file__).parent / "simulator"))
    import simulated  # noqa: F401
else:
    collect_ignore = ["simulator"]

JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")

KINDS = {
    "squared_error": losses.SQUARED_ERROR,
    "absolute_error": losses.ABSOLUTE_ERROR,
    "huber": losses.HUBER,
    "quantile": losses.QUANTILE,
}


def pytest_collection_modifyitems(items):
    """Without the JIT only tests of tiny shapes end in this life; some need a GPU."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and (reason := why_no_gpu()):
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason=reason))
    if not JIT:
        skip = pytest.mark.skip(reason="too slow without the JIT")
        for item in items:
            if "nojit" not in item.keywords:
                item.add_marker(skip)


def why_no_gpu():
    """Why nothing can run on a GPU here; None if it can."""
    if config.ENABLE_CUDASIM:
        return "a simulator is no GPU"
    from numba_lstm.cuda.device import why_not

    return why_not()


class Problem:
    """A network, a theta and a batch of random sequences with random targets."""

    def __init__(
        self,
        lengths,
        F,
        H,
        K,
        *,
        loss="squared_error",
        per_step=False,
        dtype=np.float64,
        seed=0,
        n_threads=1,
        parameter=0.4,
        dropout=(0, 0, 0),
        **architecture,
    ):
        self.rng = rng = np.random.default_rng(seed)
        self.lengths = np.asarray(lengths)
        self.sequences = [rng.standard_normal((n, F)).astype(dtype) for n in lengths]
        self.checked = check_sequences(self.sequences)
        self.order = self.checked.by_length(np.arange(len(lengths)))
        values, starts = self.checked.gather(self.order)
        Q = sum(lengths) if per_step else len(lengths)
        self.loss, self.parameter, self.per_step = loss, parameter, per_step
        if loss == "log_loss":
            y = rng.integers(0, max(K, 2), (Q, 1))
            kind = losses.BINARY_LOG_LOSS if K == 1 else losses.LOG_LOSS
        elif loss == "labels":
            y, kind = rng.integers(0, 2, (Q, K)), losses.BINARY_LOG_LOSS
        else:
            y, kind = rng.standard_normal((Q, K)), KINDS[loss]
        weight = rng.uniform(0.2, 1.0, Q) / Q
        self.batch = Batch(
            values, starts, self.lengths[self.order], y.astype(dtype), weight.astype(dtype)
        )
        sizes = H if isinstance(H, tuple) else (H,)
        self.layout = Layout(F, sizes, K, **architecture)
        self.decays = None
        if self.layout.decays:
            self.decays = [rng.uniform(-0.9, 0.8, n) for n in self.batch.lengths]
            for decay in self.decays:
                decay[0] = 0  # of the first step nothing is known
            self.batch = self.batch._replace(decay=np.concatenate(self.decays))
        self.theta = initialise(self.layout, rng, np.dtype(dtype))
        self.theta += rng.normal(0, 0.3, self.theta.size).astype(dtype)
        self.network = Network(
            self.layout, dtype, per_step=per_step, loss=kind, loss_parameter=parameter,
            mean=np.zeros(F), scale=np.ones(F), n_threads=min(n_threads, config.NUMBA_NUM_THREADS),
            dropout=Drops(*dropout),
        )  # fmt: skip

    @property
    def named(self):
        return self.layout.named(self.theta)

    @property
    def in_order(self):
        """The sequences as the batch has them: longest first."""
        return [self.sequences[i] for i in self.order]

    def loss_and_grad(self, theta=None):
        theta = self.theta if theta is None else theta
        drops = any(self.network.dropout) or any(self.layout.zoneout)
        generator = np.random.default_rng(0) if drops else None
        return self.network.loss_and_grad(theta, self.batch, None, generator)


def central_differences(p, step=1e-5):
    """Slope of the loss in each direction of theta, to the fourth order of the step.

    Normalised over two or three units, a network is too curved for the second.
    """
    gradient = np.empty_like(p.theta)
    for j in range(p.theta.size):
        total = 0.0
        for n, factor in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
            theta = p.theta.copy()
            theta[j] += n * step
            total += factor * p.loss_and_grad(theta)[0]
        gradient[j] = total / (12 * step)
    return gradient


@pytest.fixture
def make_problem():
    return Problem

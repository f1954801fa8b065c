"""numba_lstm's side of the comparisons on a GPU."""

import contextlib
import os
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.workers.common import data, ragged, serve
from benchmarks.workers.gpu_clock import QUEUED, Clock
from numba_lstm import LSTMRegressor, losses
from numba_lstm.cuda import layers, tensor_backward, tensor_forward
from numba_lstm.cuda.device import cuda
from numba_lstm.cuda.epochs import DeviceEpochs, Model
from numba_lstm.cuda.network import CudaNetwork
from numba_lstm.cuda.optimizers import Optimizers
from numba_lstm.cuda.passes import Passes
from numba_lstm.estimators.job import Job
from numba_lstm.network import Network
from numba_lstm.parameters import Layout, initialise
from numba_lstm.sequences import Batch
from numba_lstm.training.optimizers import Optimizer, SolverSettings


@cuda.jit
def _occupy(n, out):
    x = out[0]
    for _ in range(n):  # four clocks each, one after the other
        x = x * out[1] + out[2]
    out[3] = x


class GpuClock(Clock):
    """With Numba's events."""

    def __init__(self, stream):
        self.stream = stream
        self._numbers = cuda.to_device(np.ones(4, np.float32))

    def event(self):
        return cuda.event()

    def record(self, event):
        event.record(self.stream)

    def seconds(self, begin, end):
        return begin.elapsed_time(end) / 1e3

    def is_past(self, event):
        # The simulator has no queue that could run dry.
        return event.query() if hasattr(event, "query") else False

    def synchronize(self):
        self.stream.synchronize()

    def occupy(self, seconds):
        n = 1 if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1" else int(seconds * 5e8)
        _occupy[1, 1, self.stream](n, self._numbers)


class _Timed:
    """A kernel between two events."""

    def __init__(self, kernel, clock, found):
        self._kernel, self._clock, self._found = kernel, clock, found

    def __getitem__(self, configuration):
        launch = self._kernel[configuration]

        def timed(*args):
            pair = self._clock.event(), self._clock.event()
            self._clock.record(pair[0])
            launch(*args)
            self._clock.record(pair[1])
            self._found.append(pair)

        return timed


@contextlib.contextmanager
def recurrences(clock):
    """Lists that the events around each launch of the recurrence are put into."""
    places = [
        *((layers, "forward"), (layers, "backward")),
        *((tensor_forward, "forward"), (tensor_backward, "backward")),
    ]
    found = {"forward": [], "backward": []}
    before = [getattr(module, f"make_{name}") for module, name in places]
    for (module, name), make in zip(places, before, strict=True):
        timed = lambda kind, name=name, make=make: _Timed(make(kind), clock, found[name])  # noqa: E731
        setattr(module, f"make_{name}", timed)
    try:
        yield found
    finally:
        for (module, name), make in zip(places, before, strict=True):
            setattr(module, f"make_{name}", make)


def problem(B, T, F, H, is_ragged=False):
    """A layer and a head, first weights, and a batch: on the CPU, and what both devices need."""
    X, y = ragged(T, F, B) if is_ragged else data(B, T, F, B)
    order = sorted(range(B), key=lambda q: -len(X[q]))
    lengths = np.array([len(X[q]) for q in order])
    values = np.concatenate([X[q] for q in order])
    weight = np.full(B, 1 / B, np.float32)
    starts = np.cumsum(lengths) - lengths
    batch = Batch(values, starts, lengths, y[order, np.newaxis].astype(np.float32), weight)
    layout, dtype = Layout(F, (H,), 1), np.dtype(np.float32)
    theta = initialise(layout, np.random.default_rng(0), dtype)
    options = {
        "per_step": False,
        "loss": losses.SQUARED_ERROR,
        "loss_parameter": 0.0,
        "mean": np.zeros(F),
        "scale": np.ones(F),
    }
    return layout, dtype, theta, batch, options


def _on_device(B, T, F, H, is_ragged, precision):
    """Clock, passes, a batch and theta on the device."""
    layout, dtype, theta, batch, options = problem(B, T, F, H, is_ragged)
    stream, ones = cuda.stream(), np.ones((1, F))
    passes = Passes(
        *(layout, dtype, False, options["loss"], np.float32(0)),
        *(cuda.to_device(0 * ones), cuda.to_device(ones)),
        stream=stream,
        precision=precision,
    )
    # What copies a batch for the network.
    uploaded = CudaNetwork(layout, dtype, **options)._upload(batch)
    return GpuClock(stream), passes, uploaded, cuda.to_device(theta[np.newaxis])


def _measured(clock, step, goal):
    """Seconds of a step for the caller, on the device, and of the recurrence's launches."""
    answer = clock.measure(step, goal)
    with recurrences(clock) as found:
        clock.queued(step)
    for name, pairs in found.items():
        if pairs:  # of the last round: before, the host may have been behind
            seconds = [clock.seconds(*pair) for pair in pairs[-QUEUED:]]
            answer[name] = float(np.median(seconds))
    return answer


def predict(B, T, F, H, goal, is_ragged=False, precision=""):
    """A forward pass of data that lie on the device."""
    clock, passes, batch, theta = _on_device(B, T, F, H, is_ragged, precision)
    return _measured(clock, lambda: passes.forward(theta, batch, keeps=False), goal)


def train(B, T, F, H, goal, is_ragged=False, precision=""):
    """A step of Adam, of data that lie on the device."""
    clock, passes, batch, theta = _on_device(B, T, F, H, is_ragged, precision)
    size = theta.shape[1]
    grad = cuda.to_device(np.zeros((1, size), np.float32))
    loss, total = (cuda.to_device(np.zeros(1)) for _ in range(2))
    rates = cuda.to_device(np.full(1, 1e-3))
    settings = SolverSettings(alpha=0.0, clip_norm=None)
    optimizers = Optimizers([Optimizer(np.zeros(size, np.float32), settings)])

    def step():
        passes.loss_and_grad(theta, grad, batch, loss, total, 1.0)
        optimizers.step(theta, grad, loss, rates, passes.stream)

    return _measured(clock, step, goal)


def epochs(M, B, T, F, H, batches, goal):
    """Seconds of a batch of M models side by side, all that fit does included."""
    X, y = data(B, T, F, B * batches)
    options = {"batch_size": B, "clip_norm": None, "alpha": 0.0, "device": "cuda"}
    models, fits = [LSTMRegressor(H, **options, random_state=m) for m in range(M)], []
    for model in models:
        fits.append(Job(model, X, y).begin())
    parts = [Model(f.network, f.theta, f.optimizer, f.generator, f.training) for f in fits]
    runner, rng = DeviceEpochs(parts, B), np.random.default_rng(0)
    rates, seconds = [[1e-3] * batches] * M, []
    orders = [rng.permutation(f.training.index) for f in fits]
    runner.run_all(orders, rates)
    while sum(seconds) < goal or len(seconds) < 3:
        began = time.perf_counter()
        runner.run_all(orders, rates)  # which waits for the device at its end
        seconds.append((time.perf_counter() - began) / batches)
    return float(np.median(seconds))


def check(B, T, F, H, is_ragged=False, precision=""):
    """Distance of outputs, loss and gradient from the CPU's, of their norms."""
    layout, dtype, theta, batch, options = problem(B, T, F, H, is_ragged)
    cpu = Network(layout, dtype, n_threads=os.cpu_count(), **options)
    gpu = CudaNetwork(layout, dtype, precision=precision, **options)
    (loss, grad), (gpu_loss, gpu_grad) = (n.loss_and_grad(theta, batch) for n in (cpu, gpu))
    pairs = {
        "outputs": (gpu.predict(theta, batch), cpu.predict(theta, batch)),
        "loss": (gpu_loss, loss),
        "gradient": (gpu_grad, grad),
    }
    return {
        name: float(np.linalg.norm(np.subtract(found, expected)) / np.linalg.norm(expected))
        for name, (found, expected) in pairs.items()
    }


if __name__ == "__main__":
    tasks = {"predict": predict, "train": train, "epochs": epochs, "check": check}
    serve(tasks, ["numba-lstm", "numba", "numba-cuda"])

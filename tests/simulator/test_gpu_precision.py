"""Networks and estimators with ``matmul_precision``, beside those of float32 on the CPU."""

import numpy as np
import pytest
from conftest import KINDS
from test_gpu_estimators import SHARED, data
from test_gpu_network import problem

from numba_lstm import LSTMClassifier, LSTMRegressor, fit_many
from numba_lstm.cpu.allocation import Drops
from numba_lstm.cuda import epochs, layers
from numba_lstm.cuda.network import CudaNetwork
from numba_lstm.cuda.tensor_packing import packed_bytes
from numba_lstm.network import Network
from numba_lstm.parameters import Layout

pytestmark = pytest.mark.nojit

# How far outputs and gradients may be from those of float32, of their largest: a few roundings
# of one half in the last of 8 bits, and of 11.
FAR = {"bf16": 3e-2, "tf32": 3e-3}
PRECISIONS = pytest.mark.parametrize("precision", FAR)

CASES = {
    "plain": {},
    "odd": {"hidden_sizes": (9,)},
    "stack": {"hidden_sizes": (3, 2)},
    "both, every step": {"direction": "both", "merge": "sum"},
    "peephole, limit": {"peephole": True, "limit": 0.7},
    "coupled": {"coupled": True, "bias": False},
    "learned state": {"learned_state": True},
    "many inputs": {"n_inputs": 5},
    "dropout": {"hidden_sizes": (3, 2)},
    "zoneout": {"zoneout": (0.3, 0.4)},
}


def networks(layout, precision, name):
    rng = np.random.default_rng(1)
    options = {
        "per_step": "every step" in name,
        "loss": KINDS["squared_error"],
        "loss_parameter": 0.4,
        "mean": rng.standard_normal(layout.n_inputs),
        "scale": rng.random(layout.n_inputs) + 0.5,
        "dropout": Drops(*((0.3, 0.4, 0.5) if name == "dropout" else (0, 0, 0))),
    }
    f4 = np.dtype(np.float32)
    gpu = CudaNetwork(layout, f4, precision=precision, **options)
    return gpu, Network(layout, f4, n_threads=1, **options)


def assert_near(found, expected, precision):
    size = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=FAR[precision] * size + 1e-6)
    if size > 0:
        assert np.abs(found - expected).max() > 1e-6 * size  # which float32 would not be


@PRECISIONS
@pytest.mark.parametrize("name", CASES)
def test_loss_gradient_and_predictions_are_near_the_cpus(name, precision):
    layout = Layout(**({"n_inputs": 2, "hidden_sizes": (3,), "n_outputs": 2} | CASES[name]))
    gpu, cpu = networks(layout, precision, name)
    theta, batch = problem(layout, [3, 2, 1], "every step" in name, "float32")
    assert_near(gpu.predict(theta, batch), cpu.predict(theta, batch), precision)
    for network in gpu, cpu:
        network.found = network.loss_and_grad(theta, batch, generator=np.random.default_rng(3))
    assert gpu.found[0] == pytest.approx(cpu.found[0], rel=FAR[precision])
    assert_near(gpu.found[1], cpu.found[1], precision)
    arrays = gpu._passes.work._flat.items()
    packed = sum(array.nbytes for key, array in arrays if key[0] == "packed")
    assert packed == packed_bytes(layout, precision) > 0


@PRECISIONS
def test_windows_of_longer_sequences(precision):
    layout = Layout(2, (3, 2), 1, learned_state=True)
    gpu, cpu = networks(layout, precision, "")
    theta, batch = problem(layout, [3, 2], False, "float32")
    state = gpu.first_state(theta, 2)
    for network in gpu, cpu:
        begin, end, d_state = state.rows(slice(None)), network.no_state(2), network.no_state(2)
        for part in (*begin, *d_state):
            for k, array in enumerate(part):
                array += 0.1 * (k + 1)
        grad = np.empty_like(theta)
        network.loss_and_grad_of_window(theta, batch, grad, state=begin, end=end, d_state=d_state)
        network.found = [grad, *(part for pair in (end, d_state) for k in pair for part in k)]
    for found, expected in zip(gpu.found, cpu.found, strict=True):
        assert_near(found, expected, precision)


LARGE_STEPS = {"solver": "sgd", "learning_rate_init": 0.5}
FLOAT32 = SHARED | {"dtype": "float32", "device": "cuda"}


@PRECISIONS
@pytest.mark.parametrize("estimator", [LSTMRegressor, LSTMClassifier])
def test_a_fit_ends_near_that_of_float32(estimator, precision):
    X, y = data()
    y = y > 0 if estimator is LSTMClassifier else y
    full = estimator(**FLOAT32, **LARGE_STEPS).fit(X, y)
    model = estimator(**FLOAT32, **LARGE_STEPS, matmul_precision=precision).fit(X, y)
    assert_near(model.theta_, full.theta_, precision)
    assert model.theta_.dtype == np.float32
    expected = model.predict(X)
    moved = model.set_params(device="cpu", matmul_precision="float32").predict(X)
    if estimator is LSTMRegressor:
        assert_near(expected, moved, precision)


@PRECISIONS
def test_auto_takes_the_precision_where_there_is_a_gpu(precision):
    X, y = data()
    options = {"matmul_precision": precision}
    models = [LSTMRegressor(**FLOAT32 | options | {"device": d}) for d in ("cuda", "auto")]
    found, other = (model.fit(X, y).theta_ for model in models)
    np.testing.assert_array_equal(found, other)


def test_many_of_one_precision_are_trained_side_by_side(monkeypatch):
    groups = []
    make = epochs.DeviceEpochs.__init__

    def counted(self, models, *arguments):
        groups.append([model.network.precision for model in models])
        make(self, models, *arguments)

    monkeypatch.setattr(epochs.DeviceEpochs, "__init__", counted)
    X, y = data()
    asked = ["bf16", "float32", "bf16", "tf32", "float32"]
    models = [
        LSTMRegressor(**FLOAT32 | {"random_state": k}, matmul_precision=precision)
        for k, precision in enumerate(asked)
    ]
    fit_many(models, X, y)
    assert groups == [["bf16", "bf16"], ["", ""], ["tf32"]]
    for k, precision in enumerate(asked):
        options = FLOAT32 | {"random_state": k, "matmul_precision": precision}
        alone = LSTMRegressor(**options).fit(X, y)
        np.testing.assert_allclose(models[k].theta_, alone.theta_, rtol=1e-5, atol=1e-7)


def test_float32_launches_no_kernel_of_another_precision(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("weights are packed")

    monkeypatch.setattr(layers, "pack", refuse)
    LSTMRegressor(**FLOAT32).fit(*data()).predict(data()[0])
    with pytest.raises(AssertionError, match="packed"):
        LSTMRegressor(**FLOAT32, matmul_precision="bf16").fit(*data())

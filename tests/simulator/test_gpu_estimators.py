"""Estimators with device="cuda": what they learn is what they learn on the CPU."""

import pickle

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.cuda import epochs

pytestmark = pytest.mark.nojit

SHARED = {"hidden_size": 2, "max_iter": 2, "dtype": "float64", "random_state": 0}


def data(n=5, seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((1 + k % 3, 2)) for k in range(n)]
    return X, np.array([x.sum() for x in X])


def both(make, X, y, **fit):
    models = [make(device).fit(X, y, **fit) for device in ("cuda", "cpu")]
    for found, expected in zip(*(model.parameters_.values() for model in models), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-9)
    return models


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 2},
        {"batch_size": 3, "solver": "sgd", "input_dropout": 0.4, "recurrent_dropout": 0.3},
        {"batch_size": 5, "solver": "rmsprop", "early_stopping": True, "validation_fraction": 0.4},
    ],
)
def test_a_fit_ends_as_on_the_cpu(options):
    X, y = data()
    gpu, cpu = both(lambda device: LSTMRegressor(**SHARED | options, device=device), X, y)
    moments = [model._optimizer for model in (gpu, cpu)]
    assert moments[0].n_steps == moments[1].n_steps > 0
    for name in ("first_moment", "second_moment"):
        found, expected = (getattr(moment, name) for moment in moments)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
    moved = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    np.testing.assert_allclose(gpu.predict(X), moved.predict(X), rtol=1e-9)


def test_classes_at_every_step_with_data_that_stay_on_the_host(monkeypatch):
    monkeypatch.setattr(epochs, "_DATA_SHARE", 0)
    monkeypatch.setattr(epochs, "_SPAN_BYTES", 100)  # a batch at a time
    X, _ = data()
    y = [np.where(x[:, 0] > 0, "up", "down") for x in X]
    options = SHARED | {"return_sequences": True, "batch_size": 2}
    gpu, cpu = both(lambda device: LSTMClassifier(**options, device=device), X, y)
    for found, expected in zip(gpu.predict_proba(X), cpu.predict_proba(X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_what_diverges_goes_back_as_on_the_cpu():
    X, y = data()
    options = SHARED | {"learning_rate_init": 1e200, "clip_norm": None, "standardize": False}
    with pytest.warns(UserWarning, match="diverged"):
        both(lambda device: LSTMRegressor(**options, device=device), X, y)


def test_too_little_memory_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(epochs, "free_memory", lambda wanted: 1000)
    model = LSTMRegressor(**SHARED, device="cuda")
    with pytest.raises(MemoryError, match="smaller batch_size"):
        model.fit(*data())
    assert not hasattr(model, "theta_")


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"hidden_size": 300}, "300 units"), ({"layer_norm": True}, "no kernels for layer_norm")],
)
def test_what_has_no_kernels_is_refused(options, reason):
    model = LSTMRegressor(**SHARED | options, device="cuda")
    with pytest.raises(ValueError, match=reason):
        model.fit(*data())


def test_auto_takes_the_cpu_for_what_the_gpu_lacks():
    with pytest.warns(UserWarning, match="no kernels for layer_norm"):
        LSTMRegressor(**SHARED, layer_norm=True, device="auto").fit(*data())

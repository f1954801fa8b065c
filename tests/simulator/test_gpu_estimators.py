"""Estimators with device="cuda": what they learn is what they learn on the CPU."""

import pickle
import warnings

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor, fit_many
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
        {"batch_size": 2, "zoneout_hidden": 0.3, "zoneout_cell": 0.2},
        {"batch_size": 2, "zoneout_cell": 0.4, "input_dropout": 0.2, "tbptt_steps": 2},
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


def test_many_are_trained_side_by_side(monkeypatch):
    groups = []
    make = epochs.DeviceEpochs.__init__

    def counted(self, models, *arguments):
        groups.append(len(models))
        make(self, models, *arguments)

    monkeypatch.setattr(epochs.DeviceEpochs, "__init__", counted)
    X, y = data()
    options = {"batch_size": 3, "device": "cuda"}
    grid = [
        {"learning_rate_init": 0.02, "early_stopping": True, "validation_fraction": 0.4},
        {"max_iter": 1, "input_dropout": 0.0},
        {"learning_rate_init": 1e200, "clip_norm": None, "standardize": False},
        {"solver": "sgd", "random_state": 4, "alpha": 0.1},
        {"hidden_size": 3},
        {"zoneout_cell": 0.3},
        {"zoneout_cell": 0.3, "random_state": 5},
    ]
    models = [LSTMRegressor(**SHARED | options | own) for own in grid]
    with pytest.warns(UserWarning, match=r"estimators\[2\]: .*diverged"):
        assert fit_many(models, X, y) == models
    # The first learns from fewer sequences, the last three have other architectures.
    assert groups == [1, 3, 1, 2]
    for model, own in zip(models, grid, strict=True):
        with warnings.catch_warnings(action="ignore"):
            alone = LSTMRegressor(**SHARED | own, batch_size=3).fit(X, y)
        np.testing.assert_allclose(model.theta_, alone.theta_, rtol=1e-8, atol=1e-10)
        assert model.n_iter_ == alone.n_iter_


def test_fewer_at_once_where_there_is_no_room(monkeypatch):
    most = []

    def check(self, resident):
        most.append(len(self._models))
        if len(self._models) > 1:
            raise MemoryError

    monkeypatch.setattr(epochs.DeviceEpochs, "_check_memory", check)
    X, y = data(3)
    models = [LSTMRegressor(1, max_iter=1, random_state=k, device="cuda") for k in range(3)]
    fit_many(models, X, y)
    assert most == [3, 1, 2, 1, 1]
    assert [model.n_iter_ for model in models] == [1, 1, 1]


def test_ctrl_c_leaves_what_was_learned(monkeypatch):
    step, calls = epochs.DeviceEpochs._step, []

    def interrupted(self, *arguments):
        calls.append(len(self._models))
        if len(calls) == 2:
            raise KeyboardInterrupt
        step(self, *arguments)

    monkeypatch.setattr(epochs.DeviceEpochs, "_step", interrupted)
    X, y = data(4)
    options = SHARED | {"batch_size": 2, "device": "cuda", "hidden_size": 1}
    models = [LSTMRegressor(**options | {"random_state": k}) for k in range(2)]
    other = LSTMRegressor(**options | {"hidden_size": 2})
    with pytest.raises(KeyboardInterrupt):
        fit_many([*models, other], X, y)
    assert calls == [2, 2]
    assert not hasattr(other, "theta_")
    for model in models:
        assert model._optimizer.n_steps == 1
        assert model.n_iter_ == 0

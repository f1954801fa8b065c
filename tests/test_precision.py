"""The estimators' parameter ``matmul_precision`` where there is no GPU."""

import importlib.util
import pickle
import warnings

import numpy as np
import pytest
from conftest import why_no_gpu
from sklearn.base import clone

from numba_lstm import LSTMClassifier, LSTMRegressor, backend, load
from numba_lstm.cuda import device as cuda_device

X = np.random.default_rng(0).standard_normal((8, 4, 2)).astype(np.float32)
VALUES = X.sum(axis=(1, 2))
ESTIMATORS = [(LSTMRegressor, VALUES), (LSTMClassifier, np.where(VALUES > 0, "up", "down"))]
SMALL = {"hidden_size": 3, "max_iter": 2, "random_state": 0}
PRECISIONS = pytest.mark.parametrize("precision", ["tf32", "bf16"])
BOTH = pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
WITHOUT_GPU = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU")


@pytest.fixture(autouse=True)
def _not_noted_yet():
    backend._note.cache_clear()


@BOTH
@PRECISIONS
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu"}, "and device='cpu'. Set matmul_precision='float32', or device="),
        ({"dtype": "float64", "device": "cuda"}, "are of float64. Set matmul_precision='float32'"),
        ({"dtype": "float64", "device": "auto"}, "are of float64"),
    ],
)
def test_what_has_no_such_products_is_refused_before_any_work(
    estimator, y, precision, options, message
):
    model = estimator(**SMALL, **options, matmul_precision=precision)
    before = dict(vars(model))
    for fit in model.fit, model.partial_fit:
        with pytest.raises(ValueError, match=f"matmul_precision='{precision}' .*{message}"):
            fit(X, y)
    assert vars(model) == before


@BOTH
def test_a_fitted_model_stays_as_it_was(estimator, y):
    model = estimator(**SMALL).fit(X, y)
    expected = model.predict(X)
    model.set_params(matmul_precision="bf16")
    before = pickle.dumps(model)
    for use in (
        lambda: model.fit(X, y),
        lambda: model.partial_fit(X, y),
        lambda: model.predict(X),
        lambda: model.hidden_states(X),
    ):
        with pytest.raises(ValueError, match="matmul_precision='bf16' is for tensor cores"):
            use()
    assert pickle.dumps(model) == before
    model.set_params(matmul_precision="float32")
    np.testing.assert_array_equal(model.predict(X), expected)


@WITHOUT_GPU
@BOTH
@PRECISIONS
def test_where_auto_is_the_cpu_it_is_float32(estimator, y, precision):
    cpu = estimator(**SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="device='auto' is the CPU here: ") as caught:
        model = estimator(**SMALL, device="auto", matmul_precision=precision).fit(X, y)
    assert len(caught) == 1
    np.testing.assert_array_equal(model.theta_, cpu.theta_)
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(model.predict(X), cpu.predict(X))


@BOTH
@PRECISIONS
def test_copies_pickles_and_files_have_it(estimator, y, precision, tmp_path):
    model = estimator(**SMALL).fit(X, y).set_params(device="cuda", matmul_precision=precision)
    copies = [clone(model), pickle.loads(pickle.dumps(model))]
    if importlib.util.find_spec("safetensors") is not None:
        model.save(tmp_path / "model")
        copies.append(load(tmp_path / "model"))
    for found in copies:
        assert found.get_params()["matmul_precision"] == precision
        assert found.device == "cuda"


def test_what_was_made_before_there_was_the_parameter_computes_in_float32():
    state = LSTMRegressor(**SMALL).fit(X, VALUES).__getstate__()
    del state["matmul_precision"]
    model = LSTMRegressor.__new__(LSTMRegressor)
    model.__setstate__(state)
    assert model.matmul_precision == "float32"
    assert np.isfinite(model.predict(X)).all()


@WITHOUT_GPU
@BOTH
def test_a_stream_is_the_cpus_and_float32(estimator, y):
    model = estimator(**SMALL).fit(X, y)
    expected = [model.stream().step(x) for x in X[0]]
    model.set_params(device="cuda", matmul_precision="bf16")
    np.testing.assert_array_equal([model.stream().step(x) for x in X[0]], expected)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "", None])
def test_other_names_are_refused(precision):
    model = LSTMRegressor(**SMALL, device="auto", matmul_precision=precision)
    with pytest.raises(ValueError, match="matmul_precision"):
        model.fit(X, VALUES)
    assert not hasattr(model, "theta_")


@PRECISIONS
def test_a_gpu_that_is_too_old_is_told_before_any_work(precision, monkeypatch):
    monkeypatch.setattr(backend, "_why_no_gpu", lambda: None)
    monkeypatch.setattr(
        cuda_device.cuda,
        "get_current_device",
        lambda: type("Turing", (), {"compute_capability": (7, 5)}),
    )
    model = LSTMRegressor(**SMALL, device="cuda", matmul_precision=precision)
    too_old = f"capability 7.5, and matmul_precision='{precision}' needs 8.0"
    with pytest.raises(RuntimeError, match=f"{too_old}.*Use matmul_precision='float32'"):
        model.fit(X, VALUES)
    assert not hasattr(model, "theta_")
    with pytest.warns(UserWarning, match=too_old):
        model.set_params(device="auto").fit(X, VALUES)
    np.testing.assert_array_equal(model.theta_, LSTMRegressor(**SMALL).fit(X, VALUES).theta_)

"""The estimators' parameter ``device`` where there is no GPU."""

import importlib
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import why_no_gpu

from numba_lstm import LSTMClassifier, LSTMRegressor, backend

pytestmark = pytest.mark.skipif(why_no_gpu() is None, reason="there is a GPU")

X = [np.random.default_rng(k).standard_normal((2 + k % 3, 2)) for k in range(8)]
VALUES = np.array([x.sum() for x in X])
ESTIMATORS = [
    (LSTMRegressor, VALUES),
    (LSTMClassifier, np.where(VALUES > 0, "up", "down")),
]
SMALL = {"hidden_size": 3, "max_iter": 2, "random_state": 0}

CAUSE = r"device='cuda': (numba-cuda is not installed|no NVIDIA GPU|the GPU)"


@pytest.fixture(autouse=True)
def _not_noted_yet():
    backend._note.cache_clear()


@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
def test_without_a_gpu_a_fit_is_refused_before_any_work(estimator, y):
    model = estimator(**SMALL, device="cuda")
    before = dict(vars(model))
    with pytest.raises(RuntimeError, match=CAUSE):
        model.fit(X, y)
    assert vars(model) == before


@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
def test_a_fitted_model_stays_as_it_was(estimator, y):
    model = estimator(**SMALL).fit(X, y)
    expected = model.predict(X)
    model.set_params(device="cuda")
    before = pickle.dumps(model)
    for use in (
        lambda: model.fit(X, y),
        lambda: model.partial_fit(X, y),
        lambda: model.predict(X),
        lambda: model.hidden_states(X),
    ):
        with pytest.raises(RuntimeError, match=CAUSE):
            use()
    assert pickle.dumps(model) == before
    np.testing.assert_array_equal(model.set_params(device="cpu").predict(X), expected)


@pytest.mark.parametrize(
    "wrong", [{"device": "gpu"}, {"device": None}, {"matmul_precision": "half"}]
)
def test_what_there_is_not_is_refused_after_the_fit_too(wrong):
    model = LSTMRegressor(**SMALL).fit(X, VALUES).set_params(**wrong)
    (name,) = wrong
    for use in (model.predict, model.hidden_states):
        with pytest.raises(ValueError, match=f"{name}={wrong[name]!r}: pass one of"):
            use(X)


@pytest.mark.parametrize(("estimator", "y"), ESTIMATORS)
def test_auto_says_once_that_it_is_the_cpu_and_computes_what_that_does(estimator, y):
    cpu = estimator(**SMALL).fit(X, y)
    with pytest.warns(UserWarning, match="device='auto' is the CPU here: ") as caught:
        model = estimator(**SMALL, device="auto").fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(model.theta_, cpu.theta_)
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(model.predict(X), cpu.predict(X))


def test_a_model_of_auto_pickles():
    with pytest.warns(UserWarning, match="is the CPU here"):
        model = LSTMRegressor(**SMALL, device="auto").fit(X, VALUES)
    with warnings.catch_warnings(action="error"):
        loaded = pickle.loads(pickle.dumps(model))
        assert loaded.device == "auto"
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize("device", ["gpu", "cuda:0", ""])
def test_other_names_are_refused(device):
    model = LSTMRegressor(**SMALL, device=device)
    with pytest.raises(ValueError, match="device"):
        model.fit(X, VALUES)
    assert not hasattr(model, "theta_")


IMPORTS = """
import sys
import numba_lstm
import numpy as np

def loaded():
    return [n for n in sys.modules if n.startswith(("numba.cuda", "numba_lstm.cuda"))]

assert not loaded(), loaded()
X = np.random.default_rng(0).standard_normal((5, 3, 2))
model = numba_lstm.LSTMRegressor(2, max_iter=1, device="cpu").fit(X, X[:, 0, 0])
model.predict(X)
assert not loaded(), loaded()
"""


def test_on_the_cpu_nothing_of_cuda_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_numpy_that_numba_cuda_does_not_load_with_is_named(monkeypatch):
    pytest.importorskip("numba_cuda")
    device = importlib.import_module("numba_lstm.cuda.device")

    def does_not_load(name):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    gpu = type("Hopper", (), {"compute_capability": (9, 0)})
    monkeypatch.setattr(device.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.cuda, "get_current_device", lambda: gpu)
    monkeypatch.setattr(device.importlib, "import_module", does_not_load)
    reason = device.why_not()
    assert f"does not load with NumPy {np.__version__} (module 'numpy' has no" in reason

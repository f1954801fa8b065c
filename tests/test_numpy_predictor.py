"""Saved models predicted with NumPy alone agree with the estimators."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_models import fitted_models, in_float64
from hypothesis import HealthCheck, given, settings

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.interop import numpy_predictor
from numba_lstm.interop.numpy_predictor import load_predictor

DATA = Path(__file__).parent / "data"
X = np.random.default_rng(0).standard_normal((20, 6, 2))
Y = X[:, -1, 0]

# Runs the file by its path, where neither this package nor what it needs can be imported.
ALONE = """
import json, runpy, sys
import numpy as np
for name in ("numba", "llvmlite", "scipy", "sklearn", "safetensors", "numba_lstm", "joblib"):
    sys.modules[name] = None
load = runpy.run_path(sys.argv[1])["load_predictor"]
expected = np.load(sys.argv[2] + "/saved_models.npz")
for name in sorted({name.split("/")[0] for name in expected.files}):
    predictor = load(f"{sys.argv[2]}/{name}.lstm")
    times = expected.get(f"{name}/times")
    for method in ("predict", "predict_proba"):
        if f"{name}/{method}" in expected:
            found = getattr(predictor, method)(expected[f"{name}/X"], times)
            wanted = expected[f"{name}/{method}"]
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
            else:
                assert (found == wanted).all()
            print(name, method)
"""


def test_numpy_alone_is_enough(tmp_path):
    copied = tmp_path / "predictor.py"
    copied.write_bytes(Path(numpy_predictor.__file__).read_bytes())
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(copied), str(DATA)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "saved_cell predict",
        "saved_plain predict",
        "saved_stack predict",
        "saved_stack predict_proba",
    ]


def agree(found, expected, tolerance):
    if isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            agree(one, other, tolerance)
        return
    assert found.shape == expected.shape
    if expected.dtype.kind == "f":
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(fitted_models())
def test_any_network_is_predicted_alike(tmp_path, drawn):
    pytest.importorskip("safetensors")
    model = drawn.model
    model.save(tmp_path / "model.lstm")
    predictor = load_predictor(tmp_path / "model.lstm")
    # A normalisation over two units that are nearly equal makes much of float32's rounding.
    close = 3e-5 if model.layer_norm else 1e-6
    tolerances = {"float32": [close, 1e-12], "float64": [1e-12]}[model.dtype]
    cases = (drawn.X, drawn.times), (drawn.ragged, drawn.ragged_times)
    for tolerance in tolerances:
        for data, times in cases:
            found, expected = predictor.predict(data, times), model.predict(data, times=times)
            agree(found, expected, tolerance)
            if isinstance(model, LSTMRegressor):
                continue
            probabilities = model.predict_proba(data, times=times)
            agree(predictor.predict_proba(data, times), probabilities, tolerance)
            sure = margins(probabilities, model._targets.multilabel) > 1e-4
            found, expected = (np.concatenate([np.ravel(x) for x in y]) for y in (found, expected))
            assert found.dtype == expected.dtype
            assert (found == expected)[sure].all()
        model = in_float64(model)


def margins(probabilities, multilabel):
    """By how much each label that is predicted is the more probable."""
    n = probabilities[0].shape[-1]
    rows = np.concatenate([np.reshape(part, (-1, n)) for part in probabilities])
    if multilabel:
        return np.abs(rows - 0.5).ravel()
    return np.diff(np.sort(rows), axis=1)[:, -1]


def saved(tmp_path, kind=LSTMRegressor, y=Y, X=X, times=None, **options):
    pytest.importorskip("safetensors")
    model = kind(3, max_iter=2, random_state=0, **options).fit(X, y, times=times)
    model.save(tmp_path / "model.lstm")
    return model, load_predictor(str(tmp_path / "model.lstm"))


@pytest.mark.parametrize("options", [{}, {"return_sequences": True}])
def test_what_x_may_be(tmp_path, options):
    series = X[:, :, 0].astype(np.float32)
    y = series if options else Y
    model, predictor = saved(tmp_path, y=y, X=series, **options)
    for data in (series, series.tolist(), list(series), series[:, :, np.newaxis],
                 [x[: 1 + i % 6] for i, x in enumerate(series)],
                 np.array([*series, series[0, :2]], object)[:-1]):  # fmt: skip
        agree(predictor.predict(data), model.predict(data), 1e-6)
    many = np.tile(series, (30, 1))  # more than go side by side
    agree(predictor.predict(many), model.predict(many), 1e-6)


@pytest.mark.parametrize("kind", ["numbers", "integers", "dates"])
def test_times_may_be_numbers_or_dates(tmp_path, kind):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, (20, 6)), axis=1)
    if kind == "numbers":
        times = times * 0.5
    if kind == "dates":
        times = np.datetime64("1850-03-01", "ns") + times * np.timedelta64(100, "us")
    model, predictor = saved(tmp_path, times=times)
    for form in (times, list(times), times[0]):
        agree(predictor.predict(X, form), model.predict(X, times=form), 1e-6)
    if kind == "dates":
        found = predictor.predict(X, times.astype("M8[us]").astype(object))
        agree(found, model.predict(X, times=times), 1e-6)
    with pytest.raises(ValueError, match="fitted with times"):
        predictor.predict(X)
    other = np.arange(6.0) if kind == "dates" else np.arange(6).astype("M8[D]")
    for wrong in (other, times[:, ::-1], times[:, :-1], times[:3]):
        with pytest.raises(ValueError, match="times"):
            predictor.predict(X, wrong)


def test_x_that_does_not_fit_is_refused(tmp_path):
    _, predictor = saved(tmp_path)
    hole = X.copy()
    hole[3, 2, 1] = np.nan
    for wrong, message in (
        (X[:, :, :1], "shape"), (X[0, 0], "shape"), (X[..., np.newaxis], "shape"), ([], "shape"),
        (X[:, :0], "shape"), (hole, r"X\[3\] contains NaN"), (X.astype(str), "dtype"),
        (X[:0], "no"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            predictor.predict(wrong)
    with pytest.raises(ValueError, match="without times"):
        predictor.predict(X, np.arange(6))
    with pytest.raises(ValueError, match="no probabilities"):
        predictor.predict_proba(X)
    _, predictor = saved(tmp_path, X=X[:, :, 0])
    with pytest.raises(ValueError, match="5 columns"):
        predictor.predict(X[:, :5, 0])


def test_outputs_beyond_what_exponentials_hold(tmp_path):
    model, _ = saved(tmp_path, LSTMClassifier, np.arange(20) % 2, dtype="float64")
    model.theta_ *= 1e4
    model.save(tmp_path / "model.lstm")
    predictor = load_predictor(tmp_path / "model.lstm")
    with np.errstate(all="raise", under="ignore"):
        agree(predictor.predict_proba(X), model.predict_proba(X), 1e-12)

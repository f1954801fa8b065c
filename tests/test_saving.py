"""Estimators as files: what is loaded is what was saved, to the bit."""

import datetime as dt
import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_models import LABELS, fitted_models
from hypothesis import HealthCheck, given, settings
from sklearn.exceptions import NotFittedError

import numba_lstm
from numba_lstm import LSTMClassifier, LSTMRegressor, load

pytest.importorskip("safetensors")
DATA = Path(__file__).parent / "data"
X = np.random.default_rng(0).standard_normal((20, 6, 2))
Y = X[:, -1, 0]


def fitted(kind=LSTMRegressor, y=Y, X=X, **options):
    return kind(**({"hidden_size": 3, "max_iter": 2, "random_state": 0} | options)).fit(X, y)


def there_and_back(model, path):
    model.save(path)
    return load(path)


def same(one, other):
    """Arrays, or lists of them, of the same type, shape and bits."""
    assert type(one) is type(other)
    if isinstance(one, list | tuple):
        assert len(one) == len(other)
        for parts in zip(one, other, strict=True):
            same(*parts)
    else:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    return True


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(fitted_models())
def test_any_network_comes_back_bit_for_bit(tmp_path, drawn):
    model = drawn.model
    found = there_and_back(model, tmp_path / "model.lstm")
    assert type(found) is type(model)
    assert found.get_params() == model.get_params()
    assert vars(found).keys() == vars(model).keys()
    for name, value in vars(model).items():
        if isinstance(value, np.ndarray):
            same(vars(found)[name], value)
        elif name not in ("_generator", "_optimizer", "_targets"):
            np.testing.assert_equal(vars(found)[name], value)
    for data, times in ((drawn.X, drawn.times), (drawn.ragged, drawn.ragged_times)):
        for method in ("predict", "predict_proba", "hidden_states"):
            if hasattr(model, method):
                results = (getattr(m, method)(data, times=times) for m in (found, model))
                same(*results)
    if model._layout.direction == "forward" and model._layout.pooling == "last":
        streams = model.stream(9), found.stream(9)
        for t in range(drawn.X.shape[1]):
            time = () if drawn.times is None else (drawn.times[:, t],)
            same(*(stream.step(drawn.X[:, t], *time) for stream in streams))


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: labels.dtype.str)
def test_classes_keep_their_type(tmp_path, labels):
    model = fitted(LSTMClassifier, labels[np.arange(20) % len(labels)])
    found = there_and_back(model, tmp_path / "model.lstm")
    assert same(found.classes_, model.classes_)
    assert [type(label) for label in found.classes_] == [type(label) for label in model.classes_]


PARAMETERS = [
    {"hidden_size": np.int64(3)},
    {"hidden_size": (3,)},
    {"hidden_size": np.array([3, 2], np.int32)},
    {"dtype": np.float64},
    {"dtype": float},
    {"dtype": np.dtype("float32")},
    {"alpha": np.float32(0.1)},
    {"alpha": 1},
    {"tol": 0.1 + 0.2},
    {"bias": np.bool_(True)},
    {"random_state": np.uint32(2**32 - 1)},
    {"solver": np.str_("sgd")},
    {"checkpoint_every": dt.timedelta(hours=2, microseconds=1)},
    {"verbose": 0, "n_jobs": -1},
]


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_parameters_keep_their_type(tmp_path, parameters):
    model = fitted(**parameters)
    found = there_and_back(model, tmp_path / "model.lstm")
    for name, value in parameters.items():
        assert type(getattr(found, name)) is type(value)
        np.testing.assert_equal(getattr(found, name), value)


@pytest.mark.parametrize(
    "weights",
    [{0: 1, 1: 2.5}, {np.int64(0): 1, True: np.float32(0.1)}, {0: np.inf, "x": None}, "balanced"],
    ids=str,
)
def test_weights_of_classes_keep_their_type(tmp_path, weights):
    model = fitted(LSTMClassifier, np.arange(20) % 2).set_params(class_weight=weights)
    found = there_and_back(model, tmp_path / "model.lstm").class_weight
    assert found == weights
    if isinstance(weights, dict):
        for one, other in zip(found.items(), weights.items(), strict=True):
            assert list(map(type, one)) == list(map(type, other))


def test_where_to_write_is_not_kept(tmp_path):
    model = fitted().set_params(checkpoint=tmp_path / "progress")
    assert there_and_back(model, tmp_path / "model.lstm").checkpoint is None


@pytest.mark.parametrize("path", [True, 3, b"model.lstm", None])
def test_what_is_no_name_is_refused(path):
    """An integer would be any open file, the standard output say."""
    with pytest.raises(TypeError, match="name of a file"):
        load(path)


def test_what_a_gpu_has_learned_loads_where_there_is_none(tmp_path):
    model = fitted().set_params(device="cuda")
    found = there_and_back(model, tmp_path / "model")
    assert found.device == "cuda"
    assert pickle.loads(pickle.dumps(model)).device == "cuda"
    same(found.set_params(device="cpu").predict(X), model.set_params(device="cpu").predict(X))


def test_a_generator_is_not_kept(tmp_path):
    model = fitted(random_state=np.random.RandomState(0))
    found = there_and_back(model, tmp_path / "model.lstm")
    assert found.random_state is None
    assert same(found.predict(X), model.predict(X))


def test_what_was_fitted_on_frames_knows_their_columns(tmp_path):
    pandas = pytest.importorskip("pandas")
    wide = pandas.DataFrame(X[:, :, 0], columns=list("abcdef"))
    model = fitted(X=wide)
    found = there_and_back(model, tmp_path / "model.lstm")
    assert same(found.feature_names_in_, model.feature_names_in_)
    assert same(found.predict(wide), model.predict(wide))
    with pytest.raises(ValueError, match="feature names"):
        found.predict(wide[list("fedcba")])
    frames = [pandas.DataFrame(x, columns=["u", "v"]) for x in X]
    found = there_and_back(fitted(X=frames), tmp_path / "model.lstm")
    assert found.n_features_in_ == 2
    with pytest.raises(ValueError, match="feature names"):
        found.predict([frame[["v", "u"]] for frame in frames])


@pytest.mark.parametrize("dates", [False, True])
def test_what_was_fitted_on_times_wants_them(tmp_path, dates):
    times = np.arange(6) * np.timedelta64(1, "D") if dates else np.zeros(6)
    model = LSTMRegressor(3, max_iter=1).fit(X, Y, times=times)
    found = there_and_back(model, tmp_path / "model.lstm")
    np.testing.assert_equal(found.time_scale_, 86400.0 if dates else np.nan)
    assert same(found.predict(X, times=times), model.predict(X, times=times))
    with pytest.raises(ValueError, match="fitted with times"):
        found.predict(X)


def test_training_goes_on(tmp_path):
    model = fitted(max_iter=5, warm_start=True, early_stopping=True)
    found = there_and_back(model, tmp_path / "model.lstm")
    for estimator in (found, there_and_back(model, tmp_path / "model.lstm").partial_fit(X, Y)):
        estimator.fit(X, Y)
        assert estimator.n_iter_ > model.n_iter_
        assert estimator.loss_curve_[:5] == model.loss_curve_[:5]
        assert (estimator.theta_ != model.theta_).any()
        assert len(estimator.validation_scores_) > len(model.validation_scores_)
    again = there_and_back(found, tmp_path / "model.lstm")
    assert same(again.predict(X), found.predict(X))


def test_the_same_model_makes_the_same_file(tmp_path):
    model = fitted()
    for name in ("a", "b"):
        model.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    load(tmp_path / "a").save(str(tmp_path / "c"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"}


def test_other_programs_read_the_weights(tmp_path):
    import safetensors

    model = fitted(num_layers=2)
    model.save(tmp_path / "model.lstm")
    with safetensors.safe_open(tmp_path / "model.lstm", "np") as file:
        for name, weight in model.parameters_.items():
            np.testing.assert_array_equal(file.get_tensor(name), weight)
        np.testing.assert_array_equal(file.get_tensor("input_scale"), model.input_scale_)
        description = json.loads(file.metadata()["numba_lstm"])
    assert description["library"] == numba_lstm.__version__


def test_without_safetensors_there_is_advice(tmp_path, monkeypatch):
    model = fitted()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: model.save(tmp_path / "a"), lambda: load(tmp_path / "a")):
        with pytest.raises(ImportError, match=r"numba-lstm\[files\]"):
            call()


class OwnRegressor(LSTMRegressor):
    pass


REFUSED = [
    (lambda: LSTMRegressor(), NotFittedError, "not fitted"),
    (lambda: fitted(OwnRegressor), TypeError, "OwnRegressor"),
    (lambda: fitted().set_params(hidden_size=4), ValueError, r"hidden_sizes=\[4\].*\[3\]"),
    (lambda: fitted().set_params(dtype="float64"), ValueError, "dtype='float64'"),
    (lambda: fitted().set_params(missing="mask"), ValueError, "masks=True"),
    (lambda: fitted().set_params(return_sequences=True), ValueError, "per_step=True"),
    (lambda: fitted().set_params(solver="magic"), ValueError, "solver"),
    (lambda: fitted().set_params(alpha=np.longdouble(1)), TypeError, "alpha=.*longdouble"),
    (lambda: fitted().set_params(max_iter=10**30), ValueError, "max_iter=.*64 bits"),
    (lambda: fitted().set_params(checkpoint_every=b"ab"), TypeError, "checkpoint_every=b'ab'"),
]


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, make, error, message):
    model, path = make(), tmp_path / "model.lstm"
    path.write_text("before")
    with pytest.raises(error, match=message):
        model.save(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["theta_", "input_mean_", "target_scale_"])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path, name):
    model = fitted()
    getattr(model, name)[0] = np.nan
    with pytest.raises(ValueError, match=r"cannot be saved, .*(NaN|nan)"):
        model.save(tmp_path / "model.lstm")
    assert not list(tmp_path.iterdir())


def test_after_an_error_the_file_is_what_it_was(tmp_path, monkeypatch):
    model, path = fitted(), tmp_path / "model.lstm"
    with pytest.raises(FileNotFoundError, match="no directory"):
        model.save(tmp_path / "none" / "model.lstm")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    with pytest.raises(TypeError, match="path=None: pass the name of a file"):
        model.save(None)
    model.save(path)
    before = path.read_bytes()

    def no_room(descriptor):
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="no room"):
        fitted(hidden_size=5).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_pickles_go_on_working(tmp_path):
    found = there_and_back(fitted(), tmp_path / "model.lstm")
    assert same(pickle.loads(pickle.dumps(found)).predict(X), found.predict(X))


def test_files_of_this_version_are_read_from_now_on():
    """Files in tests/data, made by make_saved_models.py, and what was predicted then."""
    expected = np.load(DATA / "saved_models.npz", allow_pickle=False)
    names = sorted({name.split("/")[0] for name in expected.files})
    assert len(names) >= 3
    for name in names:
        model = load(DATA / f"{name}.lstm")
        times = expected.get(f"{name}/times", None)
        rtol = 1e-5 if model.theta_.dtype == np.float32 else 1e-12
        for method in ("predict", "predict_proba"):
            if f"{name}/{method}" in expected:
                found = getattr(model, method)(expected[f"{name}/X"], times=times)
                wanted = expected[f"{name}/{method}"]
                if wanted.dtype.kind == "f":
                    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)
                else:
                    np.testing.assert_array_equal(found, wanted)

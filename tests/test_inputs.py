"""What X and y may be, and what is said when they are not."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import _get_feature_names

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.inputs import check_sequences

pytestmark = pytest.mark.nojit
rng = np.random.default_rng(0)
X = rng.standard_normal((12, 4, 2)).astype(np.float32)
Y = X[:, -1, 0] - X[:, 0, 1]
LABELS = np.where(Y > 0, "up", "down")


def small(**parameters):
    return LSTMRegressor(hidden_size=2, max_iter=2, random_state=0, **parameters)


@pytest.fixture(scope="module")
def plain():
    return small().fit(X, Y)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def on_disk(array, folder):
    path = folder / "x.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


@pytest.mark.parametrize(
    "form",
    [
        lambda x, _: x.tolist(),
        lambda x, _: list(x),
        lambda x, _: tuple(x),
        lambda x, _: np.asfortranarray(x),
        lambda x, _: x.astype(np.float64),
        lambda x, _: x[::-1][::-1],
        lambda x, _: np.repeat(x, 2, axis=2)[:, :, ::2],
        lambda x, _: x.astype(object),
        lambda x, _: [pd.DataFrame(sequence) for sequence in x],
        lambda x, _: read_only(x),
        on_disk,
    ],
    ids=[
        *("nested lists", "list", "tuple", "Fortran", "float64", "view", "strided", "object"),
        *("frames", "read-only", "memmap"),
    ],
)
def test_every_form_of_x_gives_the_same_model(plain, form, tmp_path):
    model = small().fit(form(X, tmp_path), Y)
    np.testing.assert_array_equal(model.theta_, plain.theta_)
    np.testing.assert_array_equal(model.predict(form(X, tmp_path)), plain.predict(X))


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, bool, np.uint16])
def test_other_dtypes_are_taken_at_their_value(dtype):
    rough = (X * 3).clip(0).astype(dtype)
    model, same = small().fit(rough, Y), small().fit(rough.astype(np.float64), Y)
    np.testing.assert_array_equal(model.theta_, same.theta_)
    h, _ = model.hidden_states(rough)
    assert h.shape == (12, 4, 2)


def test_two_dimensions_are_one_feature():
    flat = X[:, :, 0]
    model, same = small().fit(flat, Y), small().fit(flat[:, :, np.newaxis], Y)
    np.testing.assert_array_equal(model.theta_, same.theta_)
    assert (model.n_features_in_, same.n_features_in_) == (4, 1)
    np.testing.assert_array_equal(model.predict(flat), same.predict(flat[:, :, np.newaxis]))
    # One feature a step is one feature a step, in whatever form it comes ...
    np.testing.assert_array_equal(model.predict(list(flat)), model.predict(flat))
    assert model.predict([flat[0], flat[1, :2]]).shape == (2,)
    assert same.predict(flat[:, :2]).shape == (12,)
    # ... but columns are features to scikit-learn: another number of them is an error.
    with pytest.raises(ValueError, match="X has 3 features, but LSTMRegressor is expecting 4"):
        model.predict(flat[:, :3])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames(frame):
    table = frame({f"hour {t}": X[:, t, 0] for t in range(4)})
    model = small().fit(table, Y)
    np.testing.assert_array_equal(model.theta_, small().fit(X[:, :, 0], Y).theta_)
    if _get_feature_names(table) is None:
        pytest.skip("this scikit-learn sees no names in these frames")
    assert model.feature_names_in_.tolist() == ["hour 0", "hour 1", "hour 2", "hour 3"]
    other = frame({f"day {t}": X[:, t, 0] for t in range(4)})
    with pytest.raises(ValueError, match="feature names"):
        model.predict(other)


def test_series_as_target(plain):
    model = small().fit(X, pd.Series(Y, index=range(100, 112)))
    np.testing.assert_array_equal(model.theta_, plain.theta_)


def test_object_array_and_series_of_sequences():
    ragged = [X[i, : 1 + i % 4] for i in range(12)]
    boxed = np.empty(12, object)
    boxed[:] = ragged
    expected = small().fit(ragged, Y).theta_
    np.testing.assert_array_equal(small().fit(boxed, Y).theta_, expected)
    np.testing.assert_array_equal(small().fit(pd.Series(ragged), Y).theta_, expected)
    univariate = [x[:, 0].tolist() for x in ragged]
    as_arrays = [x[:, :1] for x in ragged]
    np.testing.assert_array_equal(
        small().fit(univariate, Y).theta_, small().fit(as_arrays, Y).theta_
    )


def test_gather_copies_only_what_it_is_asked_for(tmp_path):
    sequences = check_sequences(on_disk(X, tmp_path))
    assert np.shares_memory(sequences.data, sequences.data.base)
    values, starts = sequences.gather(np.array([5, 2]))
    np.testing.assert_array_equal(values, X[[5, 2]].reshape(8, 2))
    assert starts.tolist() == [0, 4]
    assert values.flags.writeable


@pytest.mark.nojit
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_batch_reads_the_data_where_they_lie(dtype):
    data = np.ascontiguousarray(X, dtype)
    index = np.array([5, 2])
    batch = check_sequences(data).batch(index)
    assert np.shares_memory(batch.values, data)
    assert batch.starts.tolist() == [20, 8]
    assert batch.lengths.tolist() == [4, 4]
    read_only = data.copy()
    read_only.flags.writeable = False
    swapped = data.astype(data.dtype.newbyteorder())
    strided = np.repeat(data, 2, axis=1)[:, ::2]
    for other in (read_only, swapped, strided, list(data), data.astype(np.float16)):
        copied = check_sequences(other).batch(index)
        assert not np.shares_memory(copied.values, np.asarray(other))
        assert copied.starts.tolist() == [0, 4]
        np.testing.assert_allclose(copied.values, data[index].reshape(8, 2), rtol=1e-3)


def changed(array, place, value):
    array = np.array(array, dtype=np.float64)
    array[place] = value
    return array


BAD_X = {
    "empty": (X[:0], "0 sample"),
    "empty list": ([], "0 sample|1D array|[Ee]mpty"),
    "no steps": (X[:, :0], r"0 time step\(s\)"),
    "no features": (X[:, :, :0], r"0 feature\(s\)"),
    "zero-length sequence": ([X[0], X[1, :0], *X[2:]], r"X\[1\] has shape \(0, 2\)"),
    "1-D": (X[:, 0, 0], "Reshape your data"),
    "4-D": (X[:, :, :, None], r"4 dimensions, shape \(12, 4, 2, 1\)"),
    "features differ": ([*X[:11], X[11, :, :1]], r"X\[11\] has 1 features and X\[0\] has 2"),
    "3-D in a list": ([*X[:11], X[11:]], r"X\[11\] has shape \(1, 4, 2\)"),
    "ragged rows": ([[[1.0, 2.0], [3.0]]] * 12, "inhomogeneous|no rectangular array"),
    "NaN": (changed(X, (3, 1, 0), np.nan), "NaN: sequence 3, time step 1, feature 0"),
    "infinity": (changed(X, (7, 2, 1), -np.inf), "infinity: sequence 7, time step 2, feature 1"),
    "NaN in a list": (
        [*X[:5], changed(X[5], (2, 1), np.nan), *X[6:]],
        "NaN: sequence 5, time step 2, feature 1",
    ),
    "complex": (X.astype(complex), "Complex data not supported"),
    "strings": (np.full((12, 4), "a"), r"X holds text, .*X\[0, 0\] \('a'\)"),
    "string": ("abc", r"X holds text, .* X \('abc'\)"),
    "None": (None, "Expected 2D array|NoneType|scalar|float"),
    "number of samples": (X[:11], "11 sequences in X, but 12"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_X.values(), ids=BAD_X)
def test_bad_x_is_refused_and_changes_nothing(bad, message):
    model = small(warm_start=True).fit(X, Y)
    before = dict(vars(model))
    theta = model.theta_.copy()
    for estimator in (model, clone(model)):
        state = dict(vars(estimator))
        with pytest.raises((ValueError, TypeError), match=message):
            estimator.fit(bad, Y)
        assert vars(estimator) == state
    np.testing.assert_array_equal(model.theta_, theta)
    if message != BAD_X["number of samples"][1]:
        with pytest.raises((ValueError, TypeError), match=message):
            model.predict(bad)
    assert vars(model) == before


def test_sparse_x():
    with pytest.raises(TypeError, match="sparse"):
        small().fit(sparse.csr_matrix(X[:, :, 0]), Y)


def test_features_must_be_those_of_fit(plain):
    with pytest.raises(ValueError, match="X has 1 features, but LSTMRegressor is expecting 2"):
        plain.predict(X[:, :, :1])
    with pytest.raises(ValueError, match="X has 3 features"):
        plain.hidden_states([np.zeros((2, 3))])


BAD_Y = {
    "too short": (Y[:-1], "12 sequences in X, but 11 targets in y"),
    "NaN": (changed(Y, 4, np.nan), "NaN"),
    "three dimensions": (np.zeros((12, 4, 2)), "3D|dim 3|3 dimensions|without return_sequences"),
    "strings": (LABELS, r"y holds text, .* y\[0\] \('"),
    "None": (None, "requires y"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_Y.values(), ids=BAD_Y)
def test_bad_y_is_refused(bad, message):
    model = small()
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, bad)
    assert vars(model) == before


def test_steps_of_y_must_be_those_of_x():
    lengths = [4, 2, 3]
    ragged = [X[i, :n] for i, n in enumerate(lengths)]
    good = [np.zeros(n) for n in lengths]
    model = small(return_sequences=True).fit(ragged, good)
    assert [len(p) for p in model.predict(ragged)] == lengths
    bad = [good[0], np.zeros(3), good[2]]
    with pytest.raises(ValueError, match=r"sequence 1 of X has 2 time steps, but y\[1\] has 3"):
        small(return_sequences=True).fit(ragged, bad)
    labels = [np.array(["a", "b"] * 2)[: len(y)] for y in bad]
    with pytest.raises(ValueError, match=r"sequence 1 of X has 2 time steps, but y\[1\] has 3"):
        LSTMClassifier(return_sequences=True).fit(ragged, labels)


def test_one_class_only():
    with pytest.raises(ValueError, match=r"at least two classes, but y contains one class only"):
        LSTMClassifier().fit(X, ["a"] * 12)
    with pytest.raises(ValueError, match="class"):
        LSTMClassifier().fit(X, LABELS, sample_weight=(LABELS == "up").astype(float))


def test_unknown_labels_in_validation_data():
    with pytest.raises(ValueError, match=r"y_val contains labels that are not among the classes"):
        LSTMClassifier(max_iter=1).fit(X, LABELS, X_val=X, y_val=["sideways"] * 12)


WEIGHTS = {
    "negative": (-np.ones(12), "Negative values in sample_weight"),
    "shape": (np.ones(11), r"sample_weight.shape == \(11,\), expected \(12,\)"),
    "two dimensions": (np.ones((12, 1)), "1D array or scalar"),
    "NaN": (changed(np.ones(12), 0, np.nan), "NaN"),
    "all zero": (np.zeros(12), "zero for every sequence"),
}


@pytest.mark.parametrize(("bad", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_bad_weights(bad, message):
    with pytest.raises(ValueError, match=message):
        small().fit(X, Y, sample_weight=bad)


PARAMETERS = {
    "hidden_size": (0, "hidden_size"),
    "num_layers": (0, "num_layers"),
    "merge_mode": ("ave", "merge_mode"),
    "pooling": ("first", "pooling"),
    "cell_clip": (0.0, "cell_clip"),
    "forget_bias": ("one", "forget_bias"),
    "peephole": ("yes", "peephole"),
    "device": ("tpu", "device"),
    "matmul_precision": ("float16", "matmul_precision"),
    "dtype": ("float16", "dtype='float16': .* 'float32' or 'float64'"),
    "n_jobs": (0, "n_jobs=0"),
    "loss": ("l2", "loss"),
    "quantile": (1.0, "quantile"),
    "delta": (0.0, "delta"),
    "solver": ("newton", "solver"),
    "learning_rate": ("step", "learning_rate"),
    "learning_rate_init": (-1.0, "learning_rate_init"),
    "batch_size": (0, "batch_size"),
    "max_iter": (0, "max_iter"),
    "validation_fraction": (1.0, "validation_fraction"),
    "clip_norm": (0.0, "clip_norm"),
    "alpha": (-1.0, "alpha"),
    "tol": (-1.0, "tol"),
    "momentum": (1.5, "momentum"),
}


@pytest.mark.parametrize(("name", "case"), PARAMETERS.items(), ids=PARAMETERS)
def test_wrong_parameters(name, case):
    value, message = case
    with pytest.raises(ValueError, match=message):
        LSTMRegressor(**{name: value}).fit(X, Y)


@pytest.mark.parametrize("dtype", ["abc", None, int, 3.0])
def test_dtypes_that_are_none(dtype):
    with pytest.raises(ValueError, match="'float32' or 'float64'"):
        LSTMRegressor(dtype=dtype).fit(X, Y)


def test_validation_part_too_small():
    with pytest.raises(ValueError, match="validation"):
        small(early_stopping=True).fit(X[:3], Y[:3])
    with pytest.raises(ValueError, match="validation"):
        LSTMClassifier(early_stopping=True).fit(X[:4], ["a", "a", "a", "b"])


def per_step(classifier=False):
    """Ragged sequences, a target for every step, and an estimator fitted on them."""
    ragged = [X[i, : 2 + i % 3] for i in range(12)]
    if classifier:
        y = [np.where(x[:, 0] > 0, "up", "down") for x in ragged]
        return ragged, y, LSTMClassifier(2, max_iter=1, return_sequences=True).fit(ragged, y)
    y = [x[:, 0] for x in ragged]
    return ragged, y, small(return_sequences=True).fit(ragged, y)


@pytest.mark.parametrize("classifier", [False, True])
def test_targets_at_every_step_are_checked_in_score_too(classifier):
    ragged, y, model = per_step(classifier)
    with pytest.raises(ValueError, match=r"sequence 0 of X has 2 time steps, but .* has 4"):
        model.score(ragged, y[::-1])
    with pytest.raises(ValueError, match="target y is None"):
        model.score(ragged, None)
    with pytest.raises(ValueError, match=r"return_sequences=True .* single value"):
        model.fit(ragged, [0, 1] * 6)
    score = model.score(ragged, y)
    assert model.set_params(return_sequences=False).score(ragged, y) == score


@pytest.mark.parametrize("classifier", [False, True])
def test_series_and_frames_of_targets_at_every_step(classifier):
    ragged, y, model = per_step(classifier)
    shuffled = pd.Series(y, index=range(100, 112))
    assert model.score(ragged, shuffled) == model.score(ragged, y)
    rows = X[:, :, 0] if not classifier else np.where(X[:, :, 0] > 0, "up", "down")
    fresh = clone(model).set_params(random_state=0)
    framed = clone(fresh).fit(X, pd.DataFrame(rows)).theta_
    np.testing.assert_array_equal(framed, fresh.fit(X, rows).theta_)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", 1], "strings as labels in some sequences and numbers in others"),
        ([0.0, np.nan], r"one class only: \[0.0\]"),
        (["a", None], r"one class only: \['a'\]"),
    ],
)
def test_mixed_and_missing_labels(labels, message):
    y = [[label] * 4 for label in labels] * 6
    with pytest.raises(ValueError, match=message):
        LSTMClassifier(return_sequences=True).fit(X, y)


def test_names_are_forgotten_in_a_new_fit():
    flat = X[:, :, 0]
    model = small().fit(pd.DataFrame(flat, columns=list("abcd")), Y)
    model.fit(flat, Y)
    assert not hasattr(model, "feature_names_in_")


def test_names_of_frames_in_a_list():
    frames = [pd.DataFrame(x, columns=["load", "heat"]) for x in X]
    model = small().fit(frames, Y)
    assert model.feature_names_in_.tolist() == ["load", "heat"]
    np.testing.assert_array_equal(model.predict(frames), model.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict([frame[["heat", "load"]] for frame in frames])
    with pytest.raises(ValueError, match=r"X\[1\] has the columns .* same order"):
        small().fit([frames[0], frames[1][["heat", "load"]], *frames[2:]], Y)


def test_dates_are_refused():
    dates = np.datetime64("2026-01-01") + np.arange(48).reshape(12, 4)
    with pytest.raises(TypeError, match="dates or time differences"):
        small().fit(dates, Y)
    with pytest.raises(TypeError, match="dates or time differences"):
        small().fit(X, dates[:, 0])


@pytest.mark.parametrize(
    "weights", [{"up": -1, "down": 1}, {"up": np.nan, "down": 1}, {"up": 0, "down": 0}]
)
def test_class_weights_that_are_none(weights):
    with pytest.raises(ValueError, match=r"class_weight=.* finite and at least 0"):
        LSTMClassifier(class_weight=weights).fit(X, LABELS)


def test_validation_data_are_checked_like_those_of_predict():
    flat = pd.DataFrame(X[:, :, 0], columns=list("abcd"))
    with pytest.raises(ValueError, match="X has 3 features, but LSTMRegressor is expecting 4"):
        small().fit(flat.to_numpy(), Y, X_val=flat.to_numpy()[:, :3], y_val=Y)
    with pytest.raises(ValueError, match="feature names should match"):
        small().fit(flat, Y, X_val=flat.rename(columns={"a": "z"}), y_val=Y)


def test_one_sequence_and_one_series_are_explained(plain):
    with pytest.raises(ValueError, match=r"two dimensions .* X\[np.newaxis\] is one sequence"):
        plain.predict(X[0, :, :1])
    with pytest.raises(ValueError, match="sliding_window_view"):
        plain.predict(X[0, :, 0])


def test_values_beyond_all_measure(plain):
    assert np.isfinite(plain.predict(X.astype(np.float64) * 1e300)).all()
    with pytest.raises(ValueError, match=r"values of X, feature 0 .* too large"):
        small().fit(X.astype(np.float64) * 1e300, Y)
    with pytest.raises(ValueError, match=r"values of y, output 0 .* too large"):
        small().fit(X, Y.astype(np.float64) * 1e200)


def test_half_given_validation_data():
    with pytest.raises(ValueError, match="X_val was given without y_val"):
        small().fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="y_val was given without X_val"):
        small().fit(X, Y, y_val=Y)
    with pytest.raises(ValueError, match="without X_val and y_val"):
        small().fit(X, Y, sample_weight_val=np.ones(12))
    with pytest.raises(ValueError, match="X_val has 1 features, but LSTMRegressor is expecting 2"):
        small().fit(X, Y, X_val=X[:, :, :1], y_val=Y)


def test_messages_name_what_is_needed():
    with pytest.raises(ValueError, match=re.escape("(n_samples, n_timesteps, n_features)")):
        check_sequences(np.zeros((2, 2, 2, 2)))


def test_a_score_of_nothing_is_refused():
    model = LSTMClassifier(2, max_iter=1, random_state=0).fit(X, np.arange(len(X)) % 2)
    # scikit-learn 1.9 says so itself.
    with pytest.raises(ValueError, match="zero"):
        model.score(X, np.arange(len(X)) % 2, sample_weight=np.zeros(len(X)))

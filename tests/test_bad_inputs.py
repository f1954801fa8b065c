"""What is said of X, y, weights and parameters that cannot be."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from small_inputs import X, Y, per_step, small

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.inputs import check_sequences

pytestmark = pytest.mark.nojit
LABELS = np.where(Y > 0, "up", "down")


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


def test_features_must_be_those_of_fit():
    model = small().fit(X, Y)
    with pytest.raises(ValueError, match="X has 1 features, but LSTMRegressor is expecting 2"):
        model.predict(X[:, :, :1])
    with pytest.raises(ValueError, match="X has 3 features"):
        model.hidden_states([np.zeros((2, 3))])


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
    "text": (["a"] * 12, "sample_weight holds what is no weight"),
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


def test_one_sequence_and_one_series_are_explained():
    model = small().fit(X, Y)
    with pytest.raises(ValueError, match=r"two dimensions .* X\[np.newaxis\] is one sequence"):
        model.predict(X[0, :, :1])
    with pytest.raises(ValueError, match="sliding_window_view"):
        model.predict(X[0, :, 0])


def test_values_beyond_all_measure():
    model = small().fit(X, Y)
    assert np.isfinite(model.predict(X.astype(np.float64) * 1e300)).all()
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


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        ({"a": X}, TypeError, r"X is a dict; pass .* list\(X.values\(\)\)"),
        ((x for x in X), TypeError, r"X is a generator; pass .* list\(X\)"),
        ([sparse.csr_array(x) for x in X], TypeError, "X is a list of sparse arrays"),
        ([X[0], sparse.csr_array(X[1])], TypeError, r"Sparse data was passed for X\[1\]"),
        (np.ma.masked_array(X, X > 2), ValueError, "Input X contains NaN: sequence"),
    ],
    ids=["dict", "generator", "list of sparse", "sparse in a list", "masked"],
)
def test_other_things_than_arrays(bad, kind, message):
    with pytest.raises(kind, match=message):
        small().fit(bad, Y)


def test_messages_about_validation_data_name_these():
    nothing = np.full(12, np.nan)
    with pytest.raises(ValueError, match=r"y_val contains NaN.* out of X_val and y_val"):
        small().fit(X, Y, X_val=X, y_val=nothing)
    with pytest.raises(ValueError, match="12 sequences in X_val, but 3 targets in y_val"):
        small().fit(X, Y, X_val=X, y_val=Y[:3])
    ragged, y, model = per_step()
    with pytest.raises(ValueError, match="sequence 2 of X_val has 4 time steps"):
        model.fit(ragged, y, X_val=ragged, y_val=[*y[:2], y[2][:3], *y[3:]])


def test_a_score_says_which_target_is_missing():
    y = Y.copy()
    y[7] = np.nan
    with pytest.raises(ValueError, match="Input y contains NaN: target 7"):
        small().fit(X, Y).score(X, y)


def test_a_network_beyond_all_memory():
    for hidden_size, weights in ((10**9, "4,000,000"), (10**6, "4,000,01")):
        model = small().set_params(hidden_size=hidden_size)
        with pytest.raises(MemoryError, match=rf"would have {weights}.* smaller hidden_size"):
            model.fit(X, Y)
        assert not hasattr(model, "theta_")


def test_partial_fit_of_another_network():
    model = small().fit(X, Y).set_params(hidden_size=3)
    with pytest.raises(ValueError, match="Fit anew, with warm_start=False, or clone it"):
        model.partial_fit(X, Y)

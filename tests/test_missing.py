"""Inputs with gaps."""

import numpy as np
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.inputs import check_sequences
from numba_lstm.missing import MaskedSequences

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 9, 2))
Y = X[:, -1, 0] + X[:, 0, 1]
GAPS = np.where(rng.random(X.shape) < 0.3, np.nan, X)
RAGGED = [x[: 1 + i % 9] for i, x in enumerate(GAPS)]


def model(**options):
    options = {"hidden_size": 4, "max_iter": 3, "random_state": 0, "missing": "mask"} | options
    return LSTMRegressor(**options)


def test_what_the_network_sees():
    nan = np.nan
    a = [[nan, 1.0], [5.0, nan], [nan, nan], [nan, 4.0], [6.0, 7.0]]
    sequences = check_sequences([np.array(a), np.array([[nan, nan]])], allow_nan=True)
    masked = MaskedSequences(sequences, np.array([10.0, 20.0]))
    values, starts = masked.gather(np.array([0, 1]))
    log = np.log
    expected = [
        [10, 1, 1, 0, log(2), 0],
        [5, 1, 0, 1, 0, log(2)],
        [5, 1, 1, 1, log(2), log(3)],
        [5, 4, 1, 0, log(3), 0],
        [6, 7, 0, 0, 0, 0],
        [10, 20, 1, 1, log(2), log(2)],
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_array_equal(starts, [0, 5])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "list", "table"])
def test_each_kind_of_X(kind, dtype):
    given = {"array": GAPS, "list": RAGGED, "table": GAPS[:, :, 0]}[kind]
    given = [x.astype(dtype) for x in given] if kind == "list" else given.astype(dtype)
    fitted = model().fit(given, Y)
    found = fitted.predict(given)
    assert np.isfinite(found).all()
    F = 1 if kind == "table" else 2
    assert fitted.input_mean_.shape == (3 * F,)
    known = np.concatenate(given) if kind != "table" else given.reshape(-1, 1)
    np.testing.assert_allclose(
        fitted.input_mean_[:F], np.nanmean(known, axis=0), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(fitted.input_scale_[:F], np.nanstd(known, axis=0), rtol=1e-4)
    assert fitted.n_features_in_ == (9 if kind == "table" else 2)
    alone = fitted.predict(given[3:4])
    np.testing.assert_array_equal(alone, found[3:4])
    assert fitted.hidden_states(given)[0][0].shape[1] == 4


def test_gaps_are_learned_from():
    """The target is how often a feature was missing, which no imputation knows of."""
    X = rng.standard_normal((600, 12, 1))
    X[rng.random(X.shape) < 0.4] = np.nan
    y = np.isnan(X[:, :, 0]).mean(axis=1)
    fitted = model(hidden_size=8, max_iter=40).fit(X[:500], y[:500])
    assert fitted.score(X[500:], y[500:]) > 0.9


def test_the_original_complete_data_are_untouched_and_need_no_mask():
    before = GAPS.copy()
    model().fit(GAPS, Y)
    np.testing.assert_array_equal(GAPS, before)
    assert np.isfinite(model().fit(X, Y).predict(X)).all()


def test_a_feature_that_is_never_seen_in_training_counts_for_nothing():
    """Whatever its values are later; what else is learned does not depend on it."""
    unseen = np.where(np.arange(2) == 1, np.nan, X)
    with pytest.warns(UserWarning, match="feature 1: values seen later") as found:
        fitted = model(max_iter=40).fit(unseen, Y)
    assert found[0].filename == __file__
    assert fitted.score(unseen, Y) > 0.2
    later = unseen.copy()
    later[:, :, 1] = 1e6
    as_small = np.where(np.isnan(unseen), 1e-3, unseen)
    np.testing.assert_array_equal(fitted.predict(later), fitted.predict(as_small))
    np.testing.assert_allclose(fitted.predict(later), fitted.predict(unseen), rtol=1e-5)
    assert np.isfinite(fitted.predict(X)).all()
    with pytest.warns(UserWarning, match="features 0, 1:"):
        assert np.isfinite(model().fit(np.full_like(X, np.nan), Y).predict(X)).all()


@pytest.mark.parametrize("order", [1, -1])
def test_a_feature_that_is_missing_in_a_part_of_the_data(order):
    """The statistics are gathered part by part, in whatever order the sequences come."""
    late = rng.standard_normal((2000, 50, 2)) + [0, 5]
    late[:1000, :, 1] = np.nan
    fitted = model(max_iter=1).fit(late[::order], late[::order, -1, 0])
    np.testing.assert_allclose(fitted.input_mean_[1], np.nanmean(late[:, :, 1]), rtol=1e-12)
    np.testing.assert_allclose(fitted.input_scale_[1], np.nanstd(late[:, :, 1]), rtol=1e-12)


def test_streams_remember_what_was_seen_last():
    fitted = model().fit(GAPS, Y)
    expected = fitted.predict(GAPS)
    stream, many = fitted.stream(), fitted.stream(len(GAPS))
    for _ in range(2):
        for t in range(9):
            found = stream.step(GAPS[5, t])
            together = many.step(GAPS[:, t])
        assert found == expected[5]
        np.testing.assert_array_equal(together, expected)
        stream.reset()
        many.reset()


def test_steps_scores_validation_and_going_on():
    y = np.cumsum(X[:, :, 0], axis=1)
    steps = model(return_sequences=True, early_stopping=True, warm_start=True).fit(
        GAPS, y, X_val=GAPS[:8], y_val=y[:8]
    )
    assert np.isfinite(steps.score(GAPS, y))
    steps.fit(GAPS, y)
    steps.partial_fit(GAPS, y)
    labels = np.where(y > 0, "up", "down")
    classes = LSTMClassifier(4, missing="mask", return_sequences=True, max_iter=2).fit(
        GAPS, labels
    )
    assert 0 <= classes.score(GAPS, labels) <= 1


def test_what_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        model(missing="error").fit(GAPS, Y)
    with pytest.raises(ValueError, match="infinity"):
        model().fit(np.where(np.arange(2) == 1, np.inf, X), Y)
    with pytest.raises(ValueError, match="missing"):
        model(missing="drop").fit(X, Y)
    fitted = model(warm_start=True).fit(GAPS, Y)
    with pytest.raises(ValueError, match="cannot go on with 'error'"):
        fitted.set_params(missing="error").fit(X, Y)
    complete = model(missing="error").fit(X, Y)
    with pytest.raises(ValueError, match="NaN"):
        complete.set_params(missing="mask").predict(GAPS)
    with pytest.raises(ValueError, match="infinity"):
        fitted.stream().step([np.inf, 0])


def test_a_gap_where_training_had_none_is_the_last_value():
    """What was never seen is not trained, and begins with 0."""
    fitted = model(max_iter=5).fit(X, Y)
    filled = X.copy()
    filled[:, 4] = filled[:, 3]
    gappy = X.copy()
    gappy[:, 4] = np.nan
    np.testing.assert_array_equal(fitted.predict(gappy), fitted.predict(filled))


def test_a_state_would_not_be_the_whole():
    fitted = model().fit(GAPS, Y)
    with pytest.raises(ValueError, match="what was last seen"):
        fitted.predict(GAPS, return_state=True)
    stream = fitted.stream()
    with pytest.raises(ValueError, match="what was last seen"):
        stream.state = stream.state


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lists_go_on_as_arrays_do(dtype):
    """From its third epoch on a fit copies lists by address."""
    gaps, options = GAPS.astype(dtype), {"max_iter": 6, "batch_size": 16}
    whole, parts = (model(**options).fit(x, Y) for x in (gaps, list(gaps)))
    assert whole.loss_curve_ == parts.loss_curve_
    np.testing.assert_array_equal(whole.predict(gaps), parts.predict(list(gaps)))


def test_rows_that_do_not_lie_together_are_filled():
    sequences = check_sequences([x.astype(np.float32) for x in RAGGED], allow_nan=True)
    index = np.arange(len(RAGGED))[::-1]
    expected, _ = sequences.gather(index)
    for where in (index, list(index)):
        for dtype in (np.float32, np.float64):
            for _ in range(5):
                out = np.zeros((len(expected), 6), dtype)
                sequences.gather(where, out[:, :2])
                np.testing.assert_array_equal(out[:, :2], expected)
                assert not out[:, 2:].any()
    assert sequences._places is not None

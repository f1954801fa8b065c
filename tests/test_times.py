"""Irregular sampling: times of steps, in the estimators and in streams."""

import datetime as dt

import numpy as np
import pytest
import reference
import sklearn
from sklearn.model_selection import GridSearchCV

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.inputs import check_sequences
from numba_lstm.times import check_times

rng = np.random.default_rng(0)
X = rng.standard_normal((80, 9, 2))
TIMES = np.cumsum(rng.exponential(2.0, (80, 9)), axis=1)
Y = X[:, -1, 0] - X[:, -2, 1]
DATES = np.datetime64("2024-03-01T12:00") + (TIMES * 3600e3).astype("timedelta64[ms]")
RAGGED = [x[: 2 + i % 8] for i, x in enumerate(X)]
RAGGED_TIMES = [t[: 2 + i % 8] for i, t in enumerate(TIMES)]


def model(**parameters):
    return LSTMRegressor(
        **({"hidden_size": 5, "max_iter": 3, "random_state": 0, "dtype": "float64"} | parameters)
    )


@pytest.mark.parametrize("regular", [np.arange(9.0), np.tile(7 + 0.25 * np.arange(9), (80, 1))])
def test_equal_distances_make_no_difference(regular):
    plain, timed = model().fit(X, Y), model().fit(X, Y, times=regular)
    np.testing.assert_allclose(timed.predict(X, times=regular), plain.predict(X), atol=1e-12)
    assert timed.time_scale_ == np.diff(regular[:2].reshape(-1)[:2])[0]
    assert plain.time_scale_ is None
    assert np.abs(timed.predict(X, times=TIMES) - plain.predict(X)).max() > 1e-4


@pytest.mark.parametrize("unit", ["Y", "M"])
def test_months_and_years_are_no_length_of_time(unit):
    months = np.arange(9)
    with pytest.raises(TypeError, match="two months or years"):
        model().fit(X, Y, times=months.astype(f"m8[{unit}]"))
    assert model().fit(X, Y, times=months.astype(f"M8[{unit}]")).time_scale_ > 1e6


@pytest.mark.parametrize("kind", ["array", "list", "backwards", "one gap"])
def test_predictions_are_the_reference(kind):
    sequences, times = (RAGGED, RAGGED_TIMES) if kind == "list" else (X, TIMES)
    direction = {"backwards": "reverse"}.get(kind, "forward")
    fitted = model(go_backwards=kind == "backwards").fit(sequences, Y, times=times)
    gaps = np.concatenate([np.diff(t) for t in times])
    assert fitted.time_scale_ == np.median(gaps)
    expected = []
    for x, t in zip(sequences, times, strict=True):
        decay = np.append(0, 1 / np.log(np.e + np.diff(t) / fitted.time_scale_ - 1) - 1)
        x = (x - fitted.input_mean_) / fitted.input_scale_
        out = reference.outputs(
            [x], fitted.parameters_, False, direction=direction, decays=[decay]
        )
        expected.append(fitted.target_mean_ + fitted.target_scale_ * out[0])
    found = fitted.predict(sequences, times=times)
    np.testing.assert_allclose(found, np.ravel(expected), rtol=0, atol=1e-10)


def test_what_depends_on_time_is_learned_from_times():
    """A leaky sum of pulses: it decays with the time, not with the number of steps."""
    gaps = rng.choice([0.05, 2.0], (600, 12))
    times = np.cumsum(gaps, axis=1)
    pulses = rng.random((600, 12, 1))
    y = (pulses[:, :, 0] * np.exp(times - times[:, -1:])).sum(axis=1)
    scores = []
    for given in (times, None):
        fitted = model(hidden_size=12, max_iter=40, learning_rate_init=0.01)
        fitted.fit(pulses[:400], y[:400], times=None if given is None else given[:400])
        held = None if given is None else given[400:]
        scores.append(fitted.score(pulses[400:], y[400:], times=held))
    assert scores[0] > 0.8 > scores[1] + 0.2


def test_dates_are_times():
    dates = DATES
    exact = (dates - dates[:, :1]) / np.timedelta64(1, "s")
    by_number, by_date = model().fit(X, Y, times=exact), model().fit(X, Y, times=list(dates))
    np.testing.assert_allclose(
        by_date.predict(X, times=dates.astype(object)), by_number.predict(X, times=exact)
    )
    stream = by_date.stream()
    for x, date in zip(X[0], dates[0], strict=True):
        found = stream.step(x, date)
    assert found == pytest.approx(by_date.predict(X[:1], times=dates[:1])[0])


def test_lists_parts_and_validation_have_their_times():
    settings = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 4}
    ragged = model(**settings).fit(RAGGED, Y, times=RAGGED_TIMES)
    reverse = model(batch_size=7).fit(RAGGED[::-1], Y[::-1], times=RAGGED_TIMES[::-1])
    assert np.isfinite(ragged.validation_scores_).all()
    order = rng.permutation(80)
    together = reverse.predict(RAGGED, times=RAGGED_TIMES)
    shuffled = reverse.predict([RAGGED[i] for i in order], times=[RAGGED_TIMES[i] for i in order])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-14)
    held = model().fit(X, Y, times=TIMES, X_val=X[:9], y_val=Y[:9], times_val=TIMES[:9])
    assert held.validation_scores_[-1] == pytest.approx(held.score(X[:9], Y[:9], times=TIMES[:9]))
    gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    masked = model(missing="mask").fit(gaps, Y, times=TIMES)
    assert np.isfinite(masked.predict(gaps, times=TIMES)).all()


def test_every_method_takes_times():
    labels = (Y > 0).astype(int)
    fitted = LSTMClassifier(4, max_iter=2, pooling="attention", dtype="float64", random_state=0)
    fitted.fit(X, labels, times=TIMES).partial_fit(X, labels, times=TIMES)
    proba = fitted.predict_proba(X, times=TIMES)
    np.testing.assert_allclose(np.log(proba), fitted.predict_log_proba(X, times=TIMES))
    assert fitted.score(X, labels, times=TIMES) == np.mean(proba.argmax(axis=1) == labels)
    h, _ = fitted.hidden_states(X, times=TIMES)
    gates = fitted.gate_activations(X, times=TIMES)
    assert h.shape == gates.forget.shape == (80, 9, 4)
    assert np.abs(h - fitted.hidden_states(X, times=np.arange(9))[0]).max() > 1e-3
    assert fitted.attention_weights(X, times=TIMES).shape == (80, 9)


@pytest.mark.parametrize("n_streams", [None, 3])
def test_streams_have_times(n_streams):
    fitted = model(num_layers=2).fit(X, Y, times=TIMES)
    stream, many = fitted.stream(n_streams), n_streams or 1
    for _ in range(2):
        for t in range(9):
            x, time = (X[:many, t], TIMES[:many, t]) if n_streams else (X[0, t], TIMES[0, t])
            found = stream.step(x, time)
        expected = fitted.predict(X[:many], times=TIMES[:many])
        np.testing.assert_allclose(np.atleast_1d(found), expected, atol=1e-13)
        before = stream.state
        with pytest.raises(ValueError, match="before the last step"):
            stream.step(x, 0.0)
        with pytest.raises(ValueError, match="pass the time"):
            stream.step(x)
        np.testing.assert_array_equal(stream.state[0], before[0])
        stream.reset()
    with pytest.raises(ValueError, match="fitted without times"):
        model().fit(X, Y).stream().step(X[0, 0], 1.0)


def test_a_grid_search_hands_times_on():
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = model().set_fit_request(times=True).set_score_request(times=True)
        search = GridSearchCV(estimator, {"hidden_size": [2, 3]}, cv=2).fit(X, Y, times=TIMES)
        assert search.best_estimator_.time_scale_ > 0
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


BAD = {
    "decreases from 2.0 to 1.0 at time step 2": np.array([0, 2, 1, 3, 4, 5, 6, 7, 8.0]),
    "not finite at time step 3": np.array([0, 1, 2, np.nan, 4, 5, 6, 7, 8]),
    "not finite at time step 1": np.array(["2024-01-01", "NaT"] + ["2024-01-02"] * 7, "M8[D]"),
    "80 sequences of X": None,
    "has 9 time steps": np.arange(8.0),
    "neither numbers nor dates": np.array(["soon"] * 9, object),
    "is 5.0; pass an array": 5.0,
    "dates in some sequences and numbers": [DATES[0], *TIMES[1:]],
    "holds dates, but the estimator was fitted with numbers": DATES,
}


@pytest.mark.parametrize("message", BAD)
def test_errors(message):
    fitted = model(warm_start=True).fit(X, Y, times=TIMES)
    before = fitted.theta_.copy()
    times = BAD[message]
    if times is None:
        message, times = "has 79 sequences and X has 80", TIMES[1:]
    for call in (fitted.predict, lambda X, times: fitted.fit(X, Y, times=times)):
        with pytest.raises((ValueError, TypeError), match=message):
            call(X, times=times)
    np.testing.assert_array_equal(fitted.theta_, before)


def test_times_come_always_or_never():
    timed, plain = model(warm_start=True).fit(X, Y, times=TIMES), model(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="fitted with times; pass times="):
        timed.predict(X)
    with pytest.raises(ValueError, match="fitted with times; pass times="):
        timed.fit(X, Y)
    with pytest.raises(ValueError, match="fitted without times"):
        plain.predict(X, times=TIMES)
    with pytest.raises(ValueError, match="fitted without times"):
        plain.fit(X, Y, times=TIMES)
    with pytest.raises(ValueError, match="pass times_val="):
        model().fit(X, Y, times=TIMES, X_val=X, y_val=Y)
    scale = timed.time_scale_
    assert timed.fit(X, Y, times=3 * TIMES).time_scale_ == scale


def gaps_of(times, n_steps):
    return check_times(times, check_sequences(np.zeros((1, n_steps, 1))))[0]


def test_whatever_holds_numbers_or_dates():
    expected = [0, 1, 0, 6]
    for dtype in ("int8", "uint8", "uint64", "float16", "float64", object):
        np.testing.assert_array_equal(gaps_of(np.array([2, 3, 3, 9], dtype), 4), expected)
    big = 1_700_000_000_000_000_000 + np.array([2, 3, 3, 9])
    np.testing.assert_array_equal(gaps_of(big, 4), expected)
    days = [dt.date(2024, 1, d) for d in (2, 3, 3, 9)]
    for times in (
        np.array(days, "datetime64[D]"),
        np.array(days, "datetime64[ns]"),
        np.array(days, object),
        [dt.datetime(2024, 1, d.day, tzinfo=dt.UTC) for d in days],
        [dt.timedelta(days=d.day) for d in days],
        np.array([2, 3, 3, 9], "timedelta64[D]"),
    ):
        np.testing.assert_allclose(gaps_of(times, 4), 86400.0 * np.array(expected))
    ages = np.array(["0001-01-01", "1400-01-01", "2020-01-01"], "datetime64[D]")
    np.testing.assert_allclose(gaps_of(ages, 3) / 86400, np.append(0, np.diff(ages).astype(int)))


def test_streams_take_times_of_any_type():
    by_number, by_date = model().fit(X, Y, times=TIMES), model().fit(X, Y, times=DATES)
    stream = by_number.stream()
    stream.step(X[0, 0], np.uint64(5))
    with pytest.raises(ValueError, match="before the last step"):
        stream.step(X[0, 1], np.uint64(3))
    with pytest.raises(ValueError, match="fitted with numbers"):
        stream.step(X[0, 1], DATES[0, 1])
    stream.step(X[0, 1], np.int8(100))
    stream = by_date.stream()
    stream.step(X[0, 0], dt.datetime(2024, 1, 1))
    stream.step(X[0, 1], np.datetime64("2024-01", "M"))


def test_what_has_no_weight_has_no_part_in_the_typical_time():
    weight, slow = np.ones(80), TIMES.copy()
    weight[:50], slow[:50] = 0, 100 * slow[:50]
    assert model().fit(X, Y, weight, times=slow).time_scale_ == (
        model().fit(X[50:], Y[50:], times=slow[50:]).time_scale_
    )


def test_streams_do_not_mix_dates_and_spans_of_time():
    stream = model().fit(X, Y, times=DATES).stream()
    stream.step(X[0, 0], DATES[0, 0])
    before = stream.state
    with pytest.raises(ValueError, match="last step's was 2024"):
        stream.step(X[0, 1], DATES[0, 1] - DATES[0, 0])
    np.testing.assert_array_equal(stream.state, before)


def test_where_no_time_passes_nothing_decays_until_it_does():
    still = np.zeros(9)
    fitted, plain = model().fit(X, Y, times=still), model().fit(X, Y)
    assert np.isnan(fitted.time_scale_)
    np.testing.assert_allclose(fitted.predict(X, times=TIMES), plain.predict(X), atol=1e-12)
    assert fitted.partial_fit(X, Y, times=TIMES).time_scale_ == np.median(np.diff(TIMES))

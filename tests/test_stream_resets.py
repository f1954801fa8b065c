"""Some of many streams begin anew, and the others go on."""

import copy
import pickle

import numpy as np
import pytest

from numba_lstm import LSTMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((6, 8, 3))
TIMES = np.cumsum(rng.exponential(size=(6, 8)), axis=1)
GAPS = np.where(rng.random(X.shape) < 0.3, np.nan, X)
CASES = {
    "plain": ({}, X, None),
    "stack": ({"num_layers": 2, "proj_size": 3, "layer_norm": True}, X, None),
    "learned state": ({"learn_initial_state": True, "dtype": "float64"}, X, None),
    "gaps": ({"missing": "mask"}, GAPS, None),
    "times": ({}, X, TIMES),
    "dates": ({}, X, np.datetime64("2024-01-01") + (3600 * TIMES).astype("timedelta64[s]")),
    "gaps and times": ({"missing": "mask"}, GAPS, TIMES),
}


def at(times, rows, t):
    return () if times is None else (times[rows, t],)


@pytest.mark.parametrize("which", [1, [4, 0], np.array([0, 0, 1, 0, 1, 1], bool)], ids=str)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_those_begin_anew_and_the_others_go_on(case, which):
    options, X, times = case
    model = LSTMRegressor(5, max_iter=2, random_state=0, **options)
    model.fit(X, rng.standard_normal(6), times=times)
    stream, whole, late = (model.stream(6) for _ in range(3))
    for t in range(8):
        if t == 4:
            stream.reset(which)
            stream = pickle.loads(pickle.dumps(stream))
        found = stream.step(X[:, t], *at(times, slice(None), t))
        expected = whole.step(X[:, t], *at(times, slice(None), t))
        if t >= 4:
            expected = expected.copy()
            expected[which] = late.step(X[:, t], *at(times, slice(None), t))[which]
        np.testing.assert_array_equal(found, expected)
    assert stream.n_steps == 8
    stream.reset()
    assert stream.n_steps == 0


@pytest.mark.nojit
def test_an_earlier_time_is_fine_for_what_begins_anew_only():
    model = LSTMRegressor(5, max_iter=2, random_state=0).fit(X, X[:, 0, 0], times=TIMES)
    stream = model.stream(2)
    stream.step(X[:2, 0], [5.0, 6.0])
    twin = copy.deepcopy(stream)
    stream.reset(1)
    with pytest.raises(ValueError, match="before the last"):
        twin.step(X[:2, 1], [5.5, 1.0])
    with pytest.raises(ValueError, match="before the last"):
        stream.step(X[:2, 1], [4.5, 1.0])
    stream.step(X[:2, 1], [5.5, 1.0])
    with pytest.raises(ValueError, match="before the last"):
        stream.step(X[:2, 1], [5.6, 0.9])


@pytest.mark.nojit
def test_streams_that_are_not_there():
    model = LSTMRegressor(5, max_iter=1).fit(X, X[:, 0, 0])
    stream = model.stream(6)
    stream.step(X[:, 0])
    before = stream.state
    for wrong in (6, -1, [0, 6], [[0]], np.uint8(200)):
        with pytest.raises(ValueError, match="0 to 5"):
            stream.reset(wrong)
    for wrong in (1.0, "two", [True, False], True, [None], np.ones((6, 1), bool)):
        with pytest.raises(TypeError, match="a mask of 6"):
            stream.reset(wrong)
    stream.reset([])
    stream.reset(np.zeros(6, bool))
    np.testing.assert_array_equal(stream.state, before)
    with pytest.raises(ValueError, match="one stream"):
        model.stream().reset(0)

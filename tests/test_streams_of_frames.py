"""Steps with names: rows of frames, whose columns may be others than those of the training."""

import numpy as np
import pandas as pd
import pytest

from numba_lstm import LSTMRegressor

rng = np.random.default_rng(0)
NAMES = ["wind", "sun"]
X = rng.standard_normal((9, 6, 2))
FRAMES = [pd.DataFrame(x, columns=NAMES) for x in X]


def fitted(X=FRAMES):
    return LSTMRegressor(3, max_iter=1, random_state=0).fit(X, np.arange(9.0))


def test_rows_of_the_frames_that_were_fitted_are_steps():
    stream, plain = fitted().stream(), fitted().stream()
    for t in range(6):
        expected = plain.step(X[0, t])
        assert stream.step(FRAMES[0].iloc[t]) == expected
    many = fitted().stream(9)
    now = pd.DataFrame(X[:, 0], columns=NAMES)
    np.testing.assert_array_equal(many.step(now), fitted().stream(9).step(X[:, 0]))


def test_other_names_are_refused_and_change_nothing():
    stream, many = fitted().stream(), fitted().stream(9)
    stream.step(X[0, 0])
    before = stream.state
    for names in (NAMES[::-1], ["wind", "rain"]):
        with pytest.raises(ValueError, match=r"feature names .* fit had \['wind', 'sun'\]"):
            stream.step(pd.Series(X[0, 1], index=names))
        with pytest.raises(ValueError, match="feature names"):
            many.step(pd.DataFrame(X[:, 0], columns=names))
    np.testing.assert_array_equal(stream.state, before)
    assert stream.n_steps == 1
    assert many.n_steps == 0


def test_where_there_are_no_names_order_counts():
    stream, many = fitted().stream(), fitted().stream(9)
    assert np.isfinite(stream.step(pd.Series(X[0, 0])))
    assert np.isfinite(stream.step(X[0, 0].tolist()))
    assert np.isfinite(many.step(pd.DataFrame(X[:, 0]))).all()
    unnamed = fitted(X).stream()
    assert np.isfinite(unnamed.step(FRAMES[0].iloc[0]))
    one = fitted(pd.DataFrame(X[:, :, 0], columns=list("abcdef")))  # names of time steps
    assert np.isfinite(one.stream().step(pd.Series([0.5], index=["z"])))
    column = pd.Series(X[:, 0, 0], index=list("abcdefghi"))
    assert np.isfinite(one.stream(9).step(column)).all()

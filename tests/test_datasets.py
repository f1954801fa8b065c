"""The bundled data, the synthetic task and the demonstration."""

import numpy as np
import pytest

from numba_lstm import demo
from numba_lstm.datasets import load_bike_sharing, load_japanese_vowels, make_adding_problem


@pytest.mark.nojit
def test_bike_sharing():
    data = load_bike_sharing()
    assert data.users.shape == data.time.shape == data.weather.shape == (17544,)
    assert data.exog.shape == (17544, len(data.exog_names))
    hour = (data.time - data.time.astype("datetime64[D]")).astype(int)
    np.testing.assert_array_equal(hour, data.exog[:, data.exog_names.index("hour")])
    month = data.time.astype("datetime64[M]").astype(int) % 12 + 1
    np.testing.assert_array_equal(month, data.exog[:, data.exog_names.index("month")])


@pytest.mark.nojit
def test_japanese_vowels():
    X_train, X_test, y_train, y_test = load_japanese_vowels()
    assert (len(X_train), len(X_test)) == (270, 370) == (len(y_train), len(y_test))
    lengths = [len(x) for x in X_train + X_test]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert {x.shape[1] for x in X_train} == {12}
    np.testing.assert_array_equal(np.unique(y_test), np.arange(1, 10))


@pytest.mark.nojit
def test_adding_problem():
    X, y = make_adding_problem(50, 7, random_state=0)
    np.testing.assert_array_equal(X[:, :3, 1].sum(axis=1), 1)
    np.testing.assert_array_equal(X[:, 3:, 1].sum(axis=1), 1)
    np.testing.assert_allclose((X[:, :, 0] * X[:, :, 1]).sum(axis=1), y)
    np.testing.assert_array_equal(make_adding_problem(50, 7, random_state=0)[0], X)
    with pytest.raises(ValueError, match="n_timesteps=1"):
        make_adding_problem(5, 1)


@pytest.mark.nojit
def test_windows_of_the_demo_know_nothing_of_the_future():
    data, windows = load_bike_sharing(), demo.make_windows()
    np.testing.assert_array_equal(windows.y, data.users[72:])
    np.testing.assert_array_equal(windows.X[100, :, 0], data.users[100:172])
    np.testing.assert_array_equal(windows.X[100, :, 1], data.exog[100:172, 2])
    np.testing.assert_array_equal(windows.naive["previous hour"][100], data.users[171])
    np.testing.assert_array_equal(windows.naive["same hour yesterday"][100], data.users[148])
    assert windows.time[100] == data.time[172]
    hour = data.exog[172, data.exog_names.index("hour")]
    assert windows.X[100, -1, -6] == pytest.approx(np.sin(2 * np.pi * hour / 24), abs=1e-6)


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    demo.main()
    printed = capsys.readouterr().out
    error = {line.split("  ")[1]: float(line.split()[-1]) for line in printed.splitlines()
             if line.startswith("  ") and not line.endswith(" s")}  # fmt: skip
    naive = min(error["previous hour"], error["same hour yesterday"])
    assert error["previous hour"] == pytest.approx(59.0, abs=0.1)
    assert error["LSTM"] < 0.75 * naive
    assert "epoch 8/8" in printed
    assert (tmp_path / demo.PICTURE).stat().st_size > 20_000

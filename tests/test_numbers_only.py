"""What is said where X or y holds dates, text or other things that are no numbers."""

import datetime as dt
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from numba_lstm import LSTMClassifier, LSTMRegressor
from numba_lstm.inputs import check_sequences
from numba_lstm.numbers_only import as_numbers

pytestmark = pytest.mark.nojit
rng = np.random.default_rng(0)
X = rng.standard_normal((6, 4, 2))
Y = X[:, -1, 0]
DAYS = pd.date_range("2026-01-01", periods=6)
TABLE = pd.DataFrame({"load": Y, "heat": Y})


def with_column(values):
    return TABLE.assign(other=values)


def mixed(item):
    array = X[:, :, 0].astype(object)
    array[2, 1] = item
    return array


DATES = {
    "a column": (with_column(DAYS), r"column 'other' \(datetime64\[.*\]\)"),
    "with a zone": (with_column(DAYS.tz_localize("UTC")), r"'other' \(datetime64\[.*, UTC\]\)"),
    "time differences": (with_column(DAYS - DAYS[0]), r"'other' \(timedelta64"),
    "nothing else": (with_column(DAYS)[["other"]], "column 'other'"),
    "two columns": (with_column(DAYS).assign(end=DAYS), "column 'other', column 'end'"),
    "frames in a list": ([with_column(DAYS)] * 6, "column 'other'"),
    "Polars": (pl.DataFrame({"a": Y, "when": list(DAYS.to_pydatetime())}), "column 'when'"),
    "objects": (mixed(dt.datetime(2026, 1, 1)), r"X\[2, 1\] \(datetime.datetime\(2026, 1, 1"),
    "nested lists": ([[dt.date(2026, 1, 1)] * 4] * 6, r"X\[0, 0\] \(datetime.date"),
    "an array": (np.full((6, 4), "2026-01-01", "M8[D]"), r"X \(datetime64\[D\]\)"),
}


@pytest.mark.parametrize(("bad", "message"), DATES.values(), ids=DATES)
def test_dates_in_x_say_where_and_what_to_do(bad, message):
    with pytest.raises(
        TypeError, match=rf"^X.* holds dates or time differences.*{message}.*times="
    ):
        LSTMRegressor(2).fit(bad, Y)


TEXT = {
    "a column": (with_column("Bonn"), r"column 'other' \('Bonn'\)"),
    "categories": (with_column(pd.Categorical(["Bonn"] * 6)), r"column 'other' \('Bonn'\)"),
    "frames in a list": ([with_column("Bonn")] * 6, r"column 'other' \('Bonn'\)"),
    "Polars": (pl.DataFrame({"a": Y, "city": ["Bonn"] * 6}), r"column 'city' \('Bonn'\)"),
    "objects": (mixed("Bonn"), r"X\[2, 1\] \('Bonn'\)"),
    "bytes": (np.full((6, 4), b"Bonn"), r"X\[0, 0\] \(b'Bonn'\)"),
    "nested lists": ([[1.0, "Bonn"]] * 6, r"X\[0, 1\] \('Bonn'\)"),
    "a list of arrays": ([np.array([1, "Bonn"], object)] * 6, r"X\[0\]\[1\] \('Bonn'\)"),
    "text of numbers": (np.full((6, 4), "1.5"), r"X \(dtype <U3\)"),
    "long text": (mixed("x" * 1000), r"X\[2, 1\] \('x{56}\.\.\.\)"),
}


@pytest.mark.parametrize(("bad", "message"), TEXT.values(), ids=TEXT)
def test_text_in_x_says_where_and_what_to_do(bad, message):
    with pytest.raises(ValueError, match=rf"^X.* holds text.*{message}.*OneHotEncoder.*astype"):
        LSTMRegressor(2).fit(bad, Y)


@pytest.mark.parametrize("item", [{}, pd.Period("2026-01", "M"), 1j])
def test_other_things_are_named(item):
    with pytest.raises(TypeError, match=r"X holds what is no number: X\[2, 1\] \(.*not '"):
        LSTMRegressor(2).fit(mixed(item), Y)


def test_predict_says_the_same():
    model = LSTMRegressor(2, max_iter=1, random_state=0).fit(TABLE, Y)
    with pytest.raises(ValueError, match=r"X holds text.*column 'heat' \('warm'\)"):
        model.predict(TABLE.assign(heat="warm"))
    with pytest.raises(TypeError, match=r"X_val holds dates.*column 'heat'"):
        model.fit(TABLE, Y, X_val=TABLE.assign(heat=DAYS), y_val=Y)


def test_targets_of_a_regressor():
    model = LSTMRegressor(2)
    for bad, error, message in (
        (DAYS, TypeError, r"y holds dates or time differences.*y \(datetime64"),
        (pd.Series(DAYS.tz_localize("UTC")), TypeError, r"y\[0\] \(Timestamp\('2026-01-01"),
        (with_column(DAYS), TypeError, "column 'other'"),
        (["low"] * 6, ValueError, r"y holds text.*y\[0\] \('low'\).*LSTMClassifier"),
        (with_column("low"), ValueError, r"column 'other' \('low'\).*LSTMClassifier"),
    ):
        with pytest.raises(error, match=message):
            model.fit(X, bad)
    steps = np.full((6, 4), "low", object)
    with pytest.raises(ValueError, match=r"y holds text.*y\[0, 0\] \('low'\)"):
        LSTMRegressor(2, return_sequences=True).fit(X, steps)


def test_labels_that_are_none():
    with pytest.raises(ValueError, match=r"Unknown label type: .* of the type Timestamp.*astype"):
        LSTMClassifier(2).fit(X, pd.Series(DAYS.tz_localize("UTC")))
    with pytest.raises(ValueError, match=r"y should be a 1d array, got .* \(6, 3\)"):
        LSTMClassifier(2).fit(X, with_column("low"))


@pytest.mark.parametrize(
    "numbers",
    [
        X.astype(object),
        X.astype(str).astype(object),
        np.vectorize(Decimal, otypes=[object])(X),
        X.tolist(),
        [[[Decimal(x) for x in step] for step in sequence] for sequence in X.tolist()],
    ],
    ids=["objects", "text of numbers", "decimals", "nested lists", "nested lists of decimals"],
)
def test_objects_that_are_numbers_still_are(numbers):
    found = check_sequences(numbers).data
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, X)


def test_frames_of_numbers_as_objects():
    table = TABLE.astype({"load": object}).assign(count=pd.Categorical(["1", "2"] * 3))
    expected = np.column_stack([Y, Y, [1.0, 2.0] * 3])
    np.testing.assert_array_equal(as_numbers(table, "X"), expected)


def test_none_in_nested_lists_is_nan():
    with pytest.raises(ValueError, match="NaN: sequence 0, time step 1"):
        LSTMRegressor(2).fit([[1.0, None, 2.0]] * 6, Y)


def test_without_pandas():
    code = (
        "import sys; sys.modules['pandas'] = sys.modules['polars'] = None\n"
        "from numba_lstm.numbers_only import as_numbers\n"
        "try: as_numbers([[1.0, 'a']], 'X')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "X[0, 1] ('a')" in done.stdout

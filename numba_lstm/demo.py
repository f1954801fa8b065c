"""Forecast the bike-sharing system's next hour from its last three days.

The last 30 days are held out for the comparison with two naive forecasts; the 30
days before them decide when to stop. No model sees anything of the hour that it
forecasts but the calendar.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from numba_lstm._warmup import warmup
from numba_lstm.datasets import load_bike_sharing
from numba_lstm.estimators.regressor import LSTMRegressor

WINDOW = 72  # hours that a forecast looks back on
TEST = VALIDATION = 30 * 24  # hours at the end
PICTURE = "numba_lstm_forecast.png"


class Windows(NamedTuple):
    """Windows over the series and what follows them.

    Attributes
    ----------
    X : ndarray of shape (N, 72, F)
        Users, weather, and calendar of the hour after, in every hour of the window.
    y : ndarray of shape (N,)
        Users in the hour after the window.
    time : ndarray of shape (N,)
        That hour.
    naive : dict of str to ndarray of shape (N,)
        The naive forecasts.
    """

    X: np.ndarray
    y: np.ndarray
    time: np.ndarray
    naive: dict[str, np.ndarray]


def make_windows() -> Windows:
    """Cut the bundled series into windows (views on one array: nothing is copied)."""
    data = load_bike_sharing()
    users, exog = data.users, dict(zip(data.exog_names, data.exog.T, strict=True))
    weather = np.eye(len(data.weather_names))[data.weather]
    known_now = [users, exog["temp"], exog["hum"], exog["windspeed"], *weather.T]
    calendar = [exog["holiday"], exog["workingday"]]
    for name, period in (("hour", 24), ("weekday", 7), ("month", 12)):
        angle = 2 * np.pi * exog[name] / period
        calendar += [np.sin(angle), np.cos(angle)]
    # The calendar of the hour to forecast is known in advance, its weather is not.
    table = np.column_stack([a[:-1] for a in known_now] + [a[1:] for a in calendar])
    windows = np.lib.stride_tricks.sliding_window_view(table.astype(np.float32), WINDOW, axis=0)
    naive = {
        "previous hour": users[WINDOW - 1 : -1],
        "same hour yesterday": users[WINDOW - 24 : -24],
    }
    return Windows(windows.transpose(0, 2, 1), users[WINDOW:], data.time[WINDOW:], naive)


def main() -> None:
    """Train, compare, and draw."""
    clock: dict[str, float] = {}

    def timed(part: str, began: float) -> float:
        clock[part] = time.perf_counter() - began
        return time.perf_counter()

    began = time.perf_counter()
    windows = make_windows()
    X, y = windows.X, windows.y
    n = len(y)
    train, test = slice(0, n - TEST - VALIDATION), slice(n - TEST, n)
    validation = slice(train.stop, test.start)
    print(
        "Bike sharing, Washington D.C.: how many users in the next hour, from the last "
        f"{WINDOW} hours?\n{train.stop:,} windows to train on, {VALIDATION // 24} days to "
        f"validate, the last {TEST // 24} days to test; {X.shape[2]} features an hour.\n"
    )
    model = LSTMRegressor(
        hidden_size=64,
        batch_size=128,
        max_iter=8,
        learning_rate="cosine",
        early_stopping=True,
        random_state=0,
        verbose=True,
    )
    began = timed("reading the data", began)
    print("Compiling the kernels (the first time only: Numba caches them) ...", flush=True)
    warmup()
    began = timed("compiling", began)
    model.fit(X[train], y[train], X_val=X[validation], y_val=y[validation])
    began = timed("training", began)
    forecast = model.predict(X[test])
    began = timed("predicting", began)

    truth = y[test]
    errors = {name: _mae(naive[test], truth) for name, naive in windows.naive.items()}
    better = min(errors.values())
    errors["LSTM"] = _mae(forecast, truth)
    print(f"\nMean absolute error over the last {TEST // 24} days, in users an hour")
    for name, error in errors.items():
        print(f"  {name:<20} {error:5.1f}")
    gain = 1 - errors["LSTM"] / better
    print(f"The LSTM is {gain:.0%} below the better of the two naive forecasts.\n")
    picture = _draw(windows.time[test], truth, forecast, errors)
    timed("drawing", began)
    print("Time")
    for part, seconds in clock.items():
        print(f"  {part:<20} {seconds:5.1f} s")
    print(f"  {'together':<20} {sum(clock.values()):5.1f} s\n")
    print(picture)


def _mae(forecast, truth):
    return float(np.abs(forecast - truth).mean())


def _draw(hours, truth, forecast, errors):
    """Draw forecast and truth; return a sentence that says where."""
    try:
        import matplotlib
    except ImportError:
        return "For a picture: pip install matplotlib, and run this again."
    matplotlib.use("Agg")
    import matplotlib.dates as mdates
    import matplotlib.pyplot as plt

    ink, blue, grey = "#222222", "#2066a8", "#b8b8b8"
    days = 12 * 24
    style = {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
    }
    with plt.rc_context(style):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(11, 6), height_ratios=(4, 1), layout="constrained"
        )
        top.fill_between(hours[-days:], truth[-days:], color=grey, lw=0, label="truth")
        top.plot(hours[-days:], forecast[-days:], color=blue, lw=1.4, label="LSTM, one hour ahead")
        top.set(ylabel="users an hour", ylim=(0, None), xlim=(hours[-days], hours[-1]))
        top.set_title(
            f"Bike sharing in Washington, D.C.: the last {days // 24} days, which the model "
            "has not seen"
        )
        top.xaxis.set_major_locator(mdates.DayLocator(interval=2))
        top.xaxis.set_major_formatter(mdates.DateFormatter("%a %d %b"))
        top.legend(frameon=False, ncols=2, loc="upper right")

        names = list(errors)
        colours = [blue if name == "LSTM" else grey for name in names]
        bars = bottom.barh(names, [errors[name] for name in names], color=colours, height=0.7)
        bottom.bar_label(bars, fmt="%.1f", padding=4, color=ink)
        bottom.set(xlabel="mean absolute error over 30 days, users an hour")
        bottom.set_title("Against the naive forecasts")
        bottom.invert_yaxis()
        figure.savefig(PICTURE, dpi=120)
        plt.close(figure)
    return f"Picture: {Path(PICTURE).resolve()}"

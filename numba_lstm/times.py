"""Times of steps, and how much of a cell they let decay: equation (3d) of cell.py."""

from __future__ import annotations

import datetime as dt
from numbers import Real
from typing import Any

import numpy as np

from numba_lstm.numbers_only import unmasked
from numba_lstm.sequences import Sequences


def check_times(times: Any, sequences: Sequences, name: str = "times") -> tuple[np.ndarray, str]:
    """Check the times of the steps of some sequences.

    Parameters
    ----------
    times : array-like of shape (N, T) or (T,), or list of N arrays (T_i,)
        When each step was, numbers or dates that do not decrease; (T,) for all sequences
        alike.
    sequences : Sequences
        The checked X.
    name : str
        What to call it in messages.

    Returns
    -------
    gaps : ndarray of float64 of shape (S,)
        Time since the step before, sequence after sequence; 0 for first steps.
    kind : {"numbers", "dates"}
        What they are; the gaps between dates are in seconds.

    Raises
    ------
    ValueError
        If a shape does not fit, a time is not finite, or times decrease.
    TypeError
        If these are no numbers and no dates.
    """
    N, lengths = len(sequences), sequences.lengths
    keeps = isinstance(times, list | tuple | np.ma.MaskedArray)
    parts = times if keeps else np.asarray(times)
    if np.ndim(parts) == 0 if isinstance(parts, np.ndarray) else not parts:
        raise ValueError(
            f"{name} is {times!r}; pass an array (N, T) or (T,), or a list of {N} arrays, with "
            "the time of each step."
        )
    if np.ndim(parts[0]) == 0:
        parts = [as_times(parts, name)] * N  # the same for all
    if len(parts) != N:
        raise ValueError(
            f"{name} has {len(parts)} sequences and X has {N}; each needs the times of its steps."
        )
    if isinstance(parts, np.ndarray) and parts.shape == (N, lengths[0]) and np.ptp(lengths) == 0:
        moments = as_times(parts, name)
        gaps = np.diff(elapsed(moments.T), axis=0, prepend=0)
        if (np.isfinite(gaps) & (gaps >= 0)).all():  # what is wrong is looked for below
            return gaps.T.reshape(-1), kind_of(moments)
    rows, kinds = [], set()
    for i, part in enumerate(parts):
        moments = as_times(part, f"{name}[{i}]")
        if moments.shape != (lengths[i],):
            raise ValueError(
                f"{name}[{i}] has shape {moments.shape}, but sequence {i} of X has {lengths[i]} "
                f"time steps; pass an array ({lengths[i]},) with the time of each."
            )
        row = elapsed(moments)
        kinds.add(kind_of(moments))
        wrong = np.flatnonzero(~np.isfinite(row))
        if len(wrong):
            first = 0 if len(wrong) == len(row) else wrong[0]
            raise ValueError(f"{name}[{i}] is not finite at time step {first}.")
        gaps = np.diff(row, prepend=row[0])
        if (gaps < 0).any():
            t = int(np.argmax(gaps < 0))
            raise ValueError(
                f"{name}[{i}] decreases from {moments[t - 1]} to {moments[t]} at time step {t}. "
                "Sort the steps of each sequence by time; pass times, not the gaps between them."
            )
        rows.append(gaps)
    if len(kinds) > 1:
        raise ValueError(f"{name} has dates in some sequences and numbers in others.")
    return np.concatenate(rows), kinds.pop()


def as_times(values: Any, name: str) -> np.ndarray:
    """Return times as longdouble, datetime64 or timedelta64.

    Raises
    ------
    TypeError
        If they are no numbers and no dates.
    """
    if np.ma.is_masked(values) and values.dtype.kind in "mM":
        not_a_time = np.array("NaT", values.dtype)
        values = np.where(np.ma.getmaskarray(values), not_a_time, np.ma.getdata(values))
    moments = np.asarray(unmasked(values))
    if moments.dtype.kind == "O":
        missing = [x is None or x != x for x in moments.reshape(-1)]  # None, NaN, NaT
        items = [np.nan if not_there else _naive(x) for not_there, x in zip(
            missing, moments.reshape(-1), strict=True)]  # fmt: skip
        there = [x for x, not_there in zip(items, missing, strict=True) if not not_there]
        for kinds, dtype, nothing in (
            (Real, np.longdouble, np.nan),
            ((dt.date, np.datetime64), "datetime64[us]", "NaT"),
            ((dt.timedelta, np.timedelta64), "timedelta64[us]", "NaT"),
        ):
            if there and all(isinstance(x, kinds) and not isinstance(x, bool) for x in there):
                filled = [nothing if out else x for x, out in zip(items, missing, strict=True)]
                return np.array(filled, dtype).reshape(moments.shape)
    if moments.dtype.kind == "m" and np.datetime_data(moments.dtype)[0] in "YM":
        raise TypeError(
            f"{name} has dtype {moments.dtype}, and no two months or years are of one length. "
            "Pass dates, which numpy.datetime64('2020-01') plus these are, or days."
        )
    if moments.dtype.kind in "mM":
        return moments
    if moments.dtype.kind not in "fiu":
        raise TypeError(
            f"{name} has dtype {moments.dtype}: neither numbers nor dates. Text becomes dates by "
            "numpy.array(times, 'datetime64[s]') or pandas.to_datetime, periods by to_timestamp()."
        )
    return moments.astype(np.longdouble)  # which holds 64-bit integers as they are


def _naive(x):
    """Return a date with a time zone in UTC, without one."""
    if isinstance(x, dt.datetime):
        x = x if x.tzinfo is None else x.astimezone(dt.UTC).replace(tzinfo=None)
        return np.datetime64(x)
    return x


def kind_of(moments: np.ndarray) -> str:
    """Return "numbers" or "dates"."""
    return "dates" if moments.dtype.kind in "mM" else "numbers"


def elapsed(moments: np.ndarray) -> np.ndarray:
    """Return the time since the first row, in float64; between dates in seconds.

    Parameters
    ----------
    moments : ndarray of shape (n, ...)
        As :func:`as_times` returns them.
    """
    if kind_of(moments) == "numbers":
        with np.errstate(over="ignore", invalid="ignore"):
            return (moments - moments[0]).astype(np.float64)
    # Whole seconds apart from the rest: nanoseconds of centuries do not fit 64 bits.
    whole = moments.astype(f"{moments.dtype.kind}8[s]")
    rest = (moments - whole) / np.timedelta64(1, "s")
    seconds = whole.astype(np.int64)
    since = (seconds - seconds[0]).astype(np.float64) + (rest - rest[0])
    return np.where(np.isnat(moments) | np.isnat(moments[0]), np.nan, since)


def typical_gap(gaps: np.ndarray, lengths: np.ndarray, index: np.ndarray) -> float:
    """Return the median time between two steps of some sequences, NaN where none passes.

    Parameters
    ----------
    gaps : ndarray of shape (S,)
        As :func:`check_times` returns them.
    lengths : ndarray of shape (N,)
        Time steps of all sequences.
    index : ndarray of int
        Which of them.
    """
    counts = np.isin(np.repeat(np.arange(len(lengths)), lengths), index) & (gaps > 0)
    return float(np.median(gaps[counts])) if counts.any() else np.nan


def decay(gaps: np.ndarray, lengths: np.ndarray, scale: float) -> np.ndarray:
    """Return g - 1 of equation (3d) for every step: 0 after a typical gap, and at first steps.

    Parameters
    ----------
    gaps, lengths
        As for :func:`typical_gap`.
    scale : float
        A typical gap.
    """
    change = decay_after(gaps, scale)
    change[np.cumsum(lengths) - lengths] = 0.0
    return change


def decay_after(gaps: np.ndarray, scale: float) -> np.ndarray:
    """Return g - 1 of equation (3d) for some gaps; 0 where the scale is unknown, NaN."""
    if np.isnan(scale):
        return np.zeros(np.shape(gaps))
    return 1.0 / np.log(np.e - 1.0 + np.asarray(gaps, np.float64) / scale) - 1.0


class Clock:
    """When the last steps of streams were.

    Parameters
    ----------
    n : int
        Streams side by side.
    scale : float
        A typical gap.
    kind : str
        What :func:`kind_of` says of the times that the estimator was fitted with.
    """

    def __init__(self, n: int, scale: float, kind: str | None) -> None:
        self._scale, self._kind = scale, kind
        self._last: np.ndarray | None = None
        self._runs = np.zeros(n, np.bool_)  # the streams that had a step

    def reset(self, which: Any = slice(None)) -> None:
        """Forget when the last step was, of all streams or of some."""
        self._runs[which] = False
        if not self._runs.any():
            self._last = None

    def decay_until(self, time: Any) -> np.ndarray:
        """Return what passes until the next step lets decay, as :func:`decay` does.

        Parameters
        ----------
        time : float, datetime64 or array-like of shape (n,)
            When that step is.

        Raises
        ------
        ValueError
            If it is missing, of another kind, not finite, or before the last step.
        """
        if time is None:
            raise ValueError("The estimator was fitted with times; pass the time of this step.")
        given, n = as_times(time, "time"), len(self._runs)
        if given.shape not in ((), (n,)) or kind_of(given) != self._kind:
            raise ValueError(
                f"time={time!r}: the estimator was fitted with {self._kind} as times; pass "
                f"one of these, or one for each of {n} streams."
            )
        given = np.broadcast_to(given, n)
        last = given if self._last is None else self._last
        if last.dtype.kind != given.dtype.kind:  # dates and spans of time
            raise ValueError(
                f"time={time!r}: the last step's was {last[0]}; pass one of its kind."
            )
        gaps = elapsed(np.stack([np.where(self._runs, last, given), given]))[1]
        if not (np.isfinite(gaps) & (gaps >= 0)).all():
            raise ValueError(f"time={time!r} is not finite, or before the last step's, {last}.")
        change = np.where(self._runs, decay_after(gaps, self._scale), 0.0)
        self._last, self._runs[...] = given.copy(), True
        return change

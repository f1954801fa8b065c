"""Times of steps, and how much of a cell they let decay: equation (3d) of cell.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.sequences import Sequences


def check_times(times: Any, sequences: Sequences, name: str = "times") -> np.ndarray:
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
    ndarray of float64 of shape (S,)
        Time since the step before, sequence after sequence; 0 for first steps.

    Raises
    ------
    ValueError
        If a shape does not fit, a time is not finite, or times decrease.
    TypeError
        If these are no numbers and no dates.
    """
    N, lengths = len(sequences), sequences.lengths
    parts = times if isinstance(times, list | tuple) else np.asarray(times)
    if np.ndim(parts[0] if len(parts) else 0) == 0:
        parts = [np.asarray(parts)] * N  # the same for all
    if len(parts) != N:
        raise ValueError(
            f"{name} has {len(parts)} sequences and X has {N}; each needs the times of its steps."
        )
    rows = []
    for i, part in enumerate(parts):
        row = _numbers(part, f"{name}[{i}]")
        if row.shape != (lengths[i],):
            raise ValueError(
                f"{name}[{i}] has shape {row.shape}, but sequence {i} of X has {lengths[i]} time "
                f"steps; pass an array ({lengths[i]},) with the time of each."
            )
        wrong = np.flatnonzero(~np.isfinite(row))
        if len(wrong):
            raise ValueError(f"{name}[{i}] is not finite at time step {wrong[0]}.")
        gaps = np.diff(row, prepend=row[0])
        if (gaps < 0).any():
            t = int(np.argmax(gaps < 0))
            raise ValueError(
                f"{name}[{i}] decreases from {row[t - 1]:g} to {row[t]:g} at time step {t}. Sort "
                "the steps of each sequence by time; pass times, not the gaps between them."
            )
        rows.append(gaps)
    return np.concatenate(rows)


def _numbers(part, name):
    """Return times as float64; dates as seconds since the first of them."""
    row = np.asarray(part)
    if row.dtype.kind == "O" and row.ndim == 1:
        try:
            row = row.astype("datetime64[ns]")
        except (TypeError, ValueError):
            raise TypeError(f"{name} holds neither numbers nor dates.") from None
    if row.dtype.kind in "mM" and row.size and row.ndim == 1:
        missing = np.isnat(row)
        seconds = (row - row[0]).astype("timedelta64[ns]").astype(np.int64) / 1e9
        return np.where(missing, np.nan, seconds)
    if row.dtype.kind not in "fiu":
        raise TypeError(f"{name} has dtype {row.dtype}; times are numbers or dates.")
    return row.astype(np.float64)


def typical_gap(gaps: np.ndarray, lengths: np.ndarray, index: np.ndarray) -> float:
    """Return the median time between two steps of some sequences, 1 where there is none.

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
    return float(np.median(gaps[counts])) if counts.any() else 1.0


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
    """Return g - 1 of equation (3d) for some gaps."""
    return 1.0 / np.log(np.e - 1.0 + np.asarray(gaps, np.float64) / scale) - 1.0

"""What X may be, checked, and turned into sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from numba_lstm.numbers_only import as_numbers
from numba_lstm.sequences import Sequences

# Of so many numbers BLAS makes a dot product on one thread.
_FEW = 10_000


def check_sequences(
    X: Any, *, name: str = "X", columns: str = "features", allow_nan: bool = False
) -> Sequences:
    """Check X and turn it into :class:`Sequences`.

    Parameters
    ----------
    X : array-like of shape (N, T, F) or (N, T), or list of (T_i, F) or (T_i,) arrays
        The sequences. A list (or a one-dimensional object array) of arrays may hold
        sequences of different lengths.
    name, columns : str
        What to call X and its last axis in messages.
    allow_nan : bool
        Whether NaN is let through.

    Returns
    -------
    Sequences
        The checked sequences, not copied where X is an array of numbers.

    Raises
    ------
    TypeError
        If X is sparse, or holds dates or other things that are no numbers.
    ValueError
        If the shape is wrong, X or a sequence is empty, the features differ
        between sequences, or a value is text, NaN, infinite or complex.
    """
    if type(X) is np.ndarray and X.ndim == 3 and _is_plain_array(X):
        sequences = Sequences(X, "3-D")  # the usual case, without what takes 2 us to rule out
        _check_finite(sequences, name, allow_nan)
        return sequences
    if sparse.issparse(X):
        raise TypeError(
            f"{name} is a sparse {type(X).__name__}, but an LSTM needs a dense array. "
            f"Use {name}.toarray()."
        )
    if isinstance(X, Mapping | Iterator):
        raise TypeError(
            f"{name} is a {type(X).__name__}; pass an array, or a list of sequences: "
            f"list({name}{'.values()' if isinstance(X, Mapping) else ''})."
        )
    sequences = _ragged(X, name, columns) if _is_list_of_sequences(X) else _rectangular(X, name)
    _check_finite(sequences, name, allow_nan)
    return sequences


def _is_list_of_sequences(X):
    """Tell a list of sequences from nested lists of numbers that make one array."""
    if isinstance(X, np.ndarray | memoryview) or hasattr(X, "iloc"):
        if getattr(X, "dtype", None) != np.dtype(object) or X.ndim != 1:
            return False
        X = list(X)
    if not isinstance(X, Sequence) or isinstance(X, str | bytes) or len(X) == 0:
        return False
    if all(_is_plain(sequence) for sequence in X):
        return len({len(sequence) for sequence in X}) > 1
    return (
        any(hasattr(s, "__array__") and np.ndim(s) > 0 for s in X)
        or len({np.shape(s) for s in X if not _is_plain(s)}) > 1
    )


def _is_plain(sequence):
    """Whether this is a list or a tuple of things that are no sequences themselves."""
    return isinstance(sequence, list | tuple) and not any(
        isinstance(item, list | tuple | np.ndarray) for item in sequence
    )


def _rectangular(X, name):
    array = _numeric(X, name, ensure_2d=False, ensure_min_samples=0, ensure_min_features=0)
    if array.ndim == 0 or (array.ndim == 1 and not array.size):
        raise ValueError(
            f"Expected 2D array or a list of sequences as {name}, got "
            f"{'an empty' if array.ndim else 'a'} {type(X).__name__}."
        )
    if array.ndim == 1:
        raise ValueError(
            f"Expected 2D array, got 1D array instead: {name} has shape {array.shape}. Reshape "
            f"your data: {name}[np.newaxis] is one univariate sequence of {array.size} steps; "
            "numpy.lib.stride_tricks.sliding_window_view cuts a long series into many."
        )
    if array.ndim > 3:
        raise ValueError(
            f"{name} has {array.ndim} dimensions, shape {array.shape}; sequences come as "
            "(n_samples, n_timesteps, n_features), or as (n_samples, n_timesteps) with one "
            "feature, or as a list of (n_timesteps, n_features) arrays. Reshape your data, "
            f"for example with {name}.reshape(n_samples, n_timesteps, n_features)."
        )
    # scikit-learn calls the second axis of two dimensions features, and its checks
    # look for the word.
    units = ("sample", "feature") if array.ndim == 2 else ("sample", "time step", "feature")
    for axis, unit in enumerate(units):
        if array.shape[axis] == 0:
            raise ValueError(
                f"Found array with 0 {unit}(s) (shape={array.shape}) while a minimum of 1 is "
                f"required: {name} is (n_samples, n_timesteps, n_features)."
            )
    if array.ndim == 2:
        return Sequences(array[:, :, np.newaxis], "2-D")
    return Sequences(array, "3-D")


def _ragged(X, name, columns):
    data, feature_names = [], None
    for i, sequence in enumerate(X):
        label = f"{name}[{i}]"
        array = _numeric(sequence, label, ensure_2d=False, ensure_min_samples=0)
        if array.ndim == 1:
            array = array[:, np.newaxis]
        if array.ndim != 2:
            raise ValueError(
                f"{label} has shape {array.shape}; in a list, each sequence is an array "
                f"(n_timesteps, n_{columns}), or (n_timesteps,) with one."
            )
        if 0 in array.shape:
            raise ValueError(
                f"{label} has shape {array.shape}; each sequence needs at least one time "
                "step and one feature. Leave it out of X and y."
            )
        if data and array.shape[1] != data[0].shape[1]:
            raise ValueError(
                f"{label} has {array.shape[1]} {columns} and {name}[0] has "
                f"{data[0].shape[1]}; all sequences need the same {columns}."
            )
        names = column_names(sequence)
        if i == 0:
            feature_names = names
        elif names != feature_names:
            raise ValueError(
                f"{label} has the columns {names} and {name}[0] has {feature_names}; all "
                "frames need the same columns in the same order."
            )
        data.append(array)
    return Sequences(data, "list", feature_names)


def column_names(sequence: Any) -> list[str] | None:
    """Return the names of a frame's columns, if they are strings."""
    names = getattr(sequence, "columns", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return list(names)


def _numeric(X, name, **options):
    if type(X) is np.ndarray and X.ndim > 1 and _is_plain_array(X):
        return X  # what check_array would return, 50 microseconds later
    if hasattr(X, "iloc") and getattr(X, "ndim", 0) == 2:
        array = X.to_numpy()  # a list of 5,000 frames then fits in 0.05 s instead of 1.2
        if array.dtype.kind in "fiub" and array.size:
            return array
    return as_numbers(X, name, **options)


def _is_plain_array(X):
    return X.dtype.kind in "fiub" and X.size > 0


def _all_finite(values):
    if values.dtype.kind != "f":
        return True
    # A finite sum is proof enough, and quick; that of a few squares in a third of the time.
    # vdot, as dot warns of an overflow on some processors: 0.2 us more, errstate would be 0.8.
    if values.size < _FEW and values.dtype.char in "fd" and math.isfinite(np.vdot(values, values)):
        return True
    with np.errstate(all="ignore"):
        dtype = np.float32 if values.dtype == np.float16 else None
        return bool(np.isfinite(values.sum(dtype=dtype)))


def _check_finite(sequences, name, allow_nan):
    """Refuse NaN and infinity, saying where the first one stands."""
    data = sequences.data
    if all(map(_all_finite, data)) if isinstance(data, list) else _all_finite(data):
        return
    for index in sequences.parts():
        values, starts = sequences.gather(index)
        wrong = np.isinf(values) if allow_nan else ~np.isfinite(values)
        if not wrong.any():
            continue
        row, feature = np.argwhere(wrong)[0]
        in_batch = np.searchsorted(starts, row, side="right") - 1
        found = "NaN" if np.isnan(values[row, feature]) else "infinity"
        advice = "Impute such values first (sklearn.impute, or a forward fill along time)."
        if found == "NaN":
            advice += " Or fit with missing='mask', to learn from gaps."
        if name.startswith("y"):
            advice = "Leave such sequences out of X and y."
        raise ValueError(
            f"Input {name} contains {found}: sequence {index[in_batch]}, time step "
            f"{row - starts[in_batch]}, feature {feature}. {advice}"
        )

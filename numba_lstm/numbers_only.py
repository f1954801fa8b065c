"""Arrays of numbers, and what is said where something else stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_array

_DATES = dt.date, dt.time, dt.timedelta, np.datetime64, np.timedelta64
_ADVICE = {
    ("dates", "X"): "Leave them out or make numbers of them: hours since some start, say, or sine "
    "and cosine of the time of day. When each step was can also be told by times=.",
    ("dates", "y"): "Pass numbers: hours since some start, say.",
    ("text", "X"): "Encode it (sklearn.preprocessing.OneHotEncoder or OrdinalEncoder) or leave it "
    "out; text of numbers becomes numbers by astype(float).",
    ("text", "y"): "Pass numbers (text of numbers becomes numbers by astype(float)); labels are "
    "what LSTMClassifier learns, one for each sequence or step.",
}


class _Found(NamedTuple):
    """Something that is no number: its kind, where it stands, what it is."""

    kind: str
    place: str
    what: str


def as_numbers(X: Any, name: str, **options: Any) -> np.ndarray:
    """Return X as an array of real numbers, without a copy where it is one already.

    Parameters
    ----------
    X : array-like
        Numbers; of objects such as can be made float64. What is masked becomes NaN.
    name : str
        What to call X in messages.
    **options
        As scikit-learn's ``check_array`` takes them.

    Returns
    -------
    ndarray
        The numbers; infinities and NaN among them.

    Raises
    ------
    TypeError
        If X holds dates, time differences, or other things that are no numbers.
    ValueError
        If it holds text, or is no rectangular array.
    """
    X = unmasked(X)
    if hasattr(X, "columns") and not hasattr(X, "iloc"):
        # Polars would make numbers of dates, and say nothing. Pandas' frames raise below.
        _refuse(_culprits(X, name, by_dtype=True), name)
    try:
        array = check_array(
            X, dtype="numeric", ensure_all_finite=False, allow_nd=True, input_name=name, **options
        )
        if array.dtype.kind == "O":  # nested lists with None in them, say
            array = array.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"{name} holds a number too large for float64: {error}.") from error
    except (TypeError, ValueError) as error:
        if "inhomogeneous" in str(error) or "setting an array element" in str(error):
            if any(sparse.issparse(part) for part in X):
                raise TypeError(
                    f"{name} is a list of sparse arrays, but an LSTM needs dense ones. Pass "
                    f"[x.toarray() for x in {name}]."
                ) from error
            raise ValueError(
                f"{name} is no rectangular array: its parts differ in length or are no "
                "numbers. Pass sequences of different lengths as a list of arrays, each "
                "(n_timesteps, n_features)."
            ) from error
        _refuse(_culprits(X, name), name, error)
        raise
    if array.dtype.kind in "mM":
        _refuse(_culprits(X if hasattr(X, "columns") else array, name), name)
    return array


def unmasked(X: Any) -> Any:
    """Return a masked array of numbers with NaN, which checks know, for what is masked."""
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X) and X.dtype.kind in "fiub":
        return np.ma.filled(X.astype(X.dtype if X.dtype.kind == "f" else np.float64), np.nan)
    return X


def _refuse(found, name, cause=None):
    """Raise an error about what is no number, if anything is."""
    found = list(found)
    if not found:
        return
    kind, what = found[0].kind, found[0].what
    places = [one.place for one in found if one.kind == kind]
    where = f"{', '.join(places[:5])}{' and more' if len(places) > 5 else ''} ({what})"
    advice = _ADVICE.get((kind, "y" if name.startswith("y") else "X"))
    if kind == "dates":
        raise TypeError(
            f"{name} holds dates or time differences, but a network takes numbers: {where}. "
            f"{advice}"
        ) from cause
    if kind == "text":
        raise ValueError(
            f"{name} holds text, but a network takes numbers: {where}. {advice}"
        ) from cause
    raise TypeError(f"{name} holds what is no number: {where}. {cause}") from cause


def _culprits(X, name, by_dtype=False) -> Iterator[_Found]:
    """Yield the first thing in each column of a frame, or in an array, that is no number.

    ``by_dtype`` looks at no value, and finds what a column's dtype tells.
    """
    names = getattr(X, "columns", None)
    if names is None:
        yield from _first(np.asarray(X), name, by_dtype)
        return
    for j, column in enumerate(names):
        values = X.iloc[:, j] if hasattr(X, "iloc") else X[column]
        for one in _first(np.asarray(values), name, by_dtype):
            what = one.what if one.kind != "dates" else str(values.dtype)
            yield one._replace(place=f"column {column!r}", what=what)


def _first(values, name, by_dtype):
    """Yield the first thing in an array that is no number, if there is any."""
    kind = values.dtype.kind
    if kind in "mM":
        yield _Found("dates", name, str(values.dtype))
    if kind not in "OSTU" or not values.size or by_dtype:
        return
    for place, item in np.ndenumerate(values):
        found = _kind_of(item)
        if found is not None:
            shown = repr(item.item() if isinstance(item, np.generic) else item)
            index = f"[{', '.join(map(str, place))}]" if place else ""
            shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
            yield _Found(found, name + index, shown)
            return
    if kind != "O":  # all text of numbers
        yield _Found("text", name, f"dtype {values.dtype}")


def _kind_of(item):
    """What something is that is no number; None of a number, or text or an object that is one."""
    if isinstance(item, _DATES):
        return "dates"
    try:
        float(item)
    except OverflowError:
        return None
    except (TypeError, ValueError):
        return "text" if isinstance(item, str | bytes) else "others"
    return None

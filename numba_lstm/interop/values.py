"""Values of parameters as JSON can hold them, and back, exactly.

What JSON knows stands for itself. All else is an object with one name, which says what it
is: ``{"tuple": [...]}``, ``{"numpy": ["<f4", 0.5]}``, and so on. Reading one never calls
anything by a name from the file.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

# What may stand for a dtype: the estimators' precisions, as NumPy's or Python's types.
_TYPES = {"float": float, "float32": np.float32, "float64": np.float64}
_NUMBERS = r"\|b1|[<>|][iu][1248]|[<>]f[248]"


def to_json(value: Any) -> Any:
    """Return a value as JSON can hold it.

    Parameters
    ----------
    value : None, bool, int, float, str, list, tuple, dict, NumPy number or array, dtype, \
            timedelta or path
        The value; what it contains likewise.

    Returns
    -------
    object
        Of None, bool, int, finite float, str, list and dict with str as keys.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If a whole number needs more than 64 bits.
    """
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{value:.6g} does not fit 64 bits.")
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is list:
        return [to_json(item) for item in value]
    if kind is tuple:
        return {"tuple": [to_json(item) for item in value]}
    if kind is dict:
        return {"dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if kind is np.str_:
        return {"text": str(value)}
    if isinstance(value, np.generic) and re.fullmatch(_NUMBERS, value.dtype.str):
        return {"numpy": [value.dtype.str, to_json(value.item())]}
    if kind is np.ndarray and re.fullmatch(_NUMBERS, value.dtype.str):
        return {"array": [value.dtype.str, to_json(value.tolist())]}
    if kind is dt.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str):
        return {"path": os.fspath(value)}
    if isinstance(value, np.dtype) and value.isnative and value.name in _TYPES:
        return {"dtype": value.name}
    for name, known in _TYPES.items():
        if value is known:
            return {"type": name}
    raise TypeError(f"{value!r:.200} is a {kind.__name__}.")


def from_json(stored: Any) -> Any:
    """Return the value that :func:`to_json` was given.

    Paths come back as :class:`pathlib.Path`.

    Raises
    ------
    ValueError
        If it stands for none.
    """
    if isinstance(stored, list):
        return [from_json(item) for item in stored]
    if not isinstance(stored, dict):
        if type(stored) is int and not -(2**63) <= stored < 2**64:
            raise ValueError("a whole number does not fit 64 bits")
        if type(stored) is float and not math.isfinite(stored):
            raise ValueError("a number is too large")
        return stored
    try:
        ((what, content),) = stored.items()
        return _READERS[what](content)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{stored!r:.80} stands for no value") from error


def _typed(content):
    """A NumPy number, or an array, which holds what was stored to the bit."""
    dtype, stored = content
    if not re.fullmatch(_NUMBERS, dtype):
        raise ValueError(dtype)
    values = _numbers(stored)
    array = np.array(values, dtype)
    found = array.tolist()
    if array.dtype.str != dtype or repr(found) != repr(values):
        raise ValueError(values)
    return array


def _numbers(stored):
    if isinstance(stored, list):
        return [_numbers(item) for item in stored]
    value = from_json(stored)
    if type(value) not in (bool, int, float):
        raise TypeError(value)
    return value


def _array(content):
    if not isinstance(content[1], list):
        raise TypeError(content)
    return _typed(content)


def _number(content):
    if isinstance(content[1], list):
        raise TypeError(content)
    return _typed(content)[()]


def _text(content):
    if type(content) is not str:
        raise TypeError(content)
    return content


def _list(content):
    if type(content) is not list:
        raise TypeError(content)
    return content


def _timedelta(content):
    days, seconds, microseconds = content
    if not all(type(part) is int for part in content):
        raise TypeError(content)
    return dt.timedelta(days, seconds, microseconds)


_READERS = {
    "float": lambda content: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[content],
    "tuple": lambda content: tuple(from_json(item) for item in _list(content)),
    "dict": lambda content: {from_json(key): from_json(item) for key, item in _list(content)},
    "text": lambda content: np.str_(_text(content)),
    "numpy": _number,
    "array": _array,
    "timedelta": _timedelta,
    "path": lambda content: Path(_text(content)),
    "dtype": lambda content: np.dtype(_TYPES[_text(content)]),
    "type": lambda content: _TYPES[_text(content)],
}

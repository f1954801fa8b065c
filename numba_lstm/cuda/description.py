"""What a kernel is made of, in words that are the same in every process."""

from __future__ import annotations

import hashlib
from types import FunctionType
from typing import Any

import numpy as np
from numba import types

# What is described by its repr.
_PLAIN = bool, int, float, str, type(None), np.generic, np.dtype, types.Type


def describe(value: Any) -> str:
    """Describe a function with all that it encloses.

    Together with the package's sources the description tells what is compiled: names of a
    module's own are in the sources.

    Parameters
    ----------
    value : object
        A function, compiled or not, an intrinsic, or what one of these encloses: numbers,
        strings, types, and tuples of them.

    Returns
    -------
    str
        The same in every process, and another for another value.

    Raises
    ------
    TypeError
        If it is of any other kind.
    """
    # Compiled functions, and intrinsics, know what they were made of.
    function = getattr(value, "py_func", getattr(value, "_defn", value))
    if isinstance(function, FunctionType):
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
        return f"{function.__module__}.{function.__qualname__}{describe(cells)}"
    if isinstance(value, tuple):
        return f"{type(value).__name__}({', '.join(map(describe, value))})"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    raise TypeError(
        f"A kernel encloses {value!r}, of {type(value)}, for which there is no description that "
        "is the same in every process. Enclose numbers, strings, types or functions."
    )


def digest(*parts: Any) -> str:
    """Return a short name for what has a description, or a repr, of its own."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()

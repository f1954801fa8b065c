"""The one decorator that every compiled function of the library goes through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba

# "contract" lets a multiplication and an addition become one FMA. Nothing
# stronger by default: reassociation would break the argument reduction of the
# exponential, and "nnan" or "ninf" would drop the checks for NaN and infinity.
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",  # Python's zero-division test blocks vectorisation
    "fastmath": {"contract"},
    "nogil": True,
}


def kernel(function: Callable | None = None, **options: Any) -> Callable:
    """Compile a kernel lazily, in nopython mode, cached on disk where possible.

    Parameters
    ----------
    function : callable
        Function of numbers, arrays and named tuples of these.
    **options
        Further options of :func:`numba.njit`, which replace the library's own.

    Returns
    -------
    callable
        The compiled function; the function itself under ``NUMBA_DISABLE_JIT=1``.
    """
    if function is None:
        return functools.partial(kernel, **options)
    options = _OPTIONS | options
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no directory to put the cache into can be written
        return numba.njit(**options)(function)

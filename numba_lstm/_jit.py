"""The one decorator that every compiled function of the library goes through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba

# No fastmath, not even "contract": with it the same source, compiled now or loaded
# from the cache, gave results that differed in the last bit, presumably because which
# products LLVM fuses into additions depends on what it inlined where. Without it they
# are equal. Where an FMA is wanted the source says so (intrinsics.py).
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",  # Python's zero-division test blocks vectorisation
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

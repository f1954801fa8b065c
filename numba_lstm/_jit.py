"""The decorators that every compiled function of the library goes through."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from typing import Any

import numba
from numba import config

from numba_lstm._kernel_cache import KernelCache

# No fastmath, not even "contract": with it the same source, compiled now or loaded
# from the cache, gave results that differed in the last bit, presumably because which
# products LLVM fuses into additions depends on what it inlined where. Without it they
# are equal. Where an FMA is wanted the source says so (vectors.py).
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",  # Python's zero-division test blocks vectorisation
    "nogil": True,
}


@functools.cache
def _sources() -> str:
    """Return a hash of this package's sources."""
    package = os.path.dirname(__file__)
    found = hashlib.blake2b(digest_size=6)
    folders = os.walk(package)  # half the time that pathlib takes, 5 ms of every start-up
    paths = (os.path.join(folder, name) for folder, _, names in folders for name in names)
    for path in sorted(path for path in paths if path.endswith(".py")):
        with open(path, "rb") as file:
            found.update(path.removeprefix(package).encode() + file.read())
    return found.hexdigest()


def kernel(function: Callable | None = None, **options: Any) -> Callable:
    """Compile a function that Python calls: lazily, cached on disk where possible.

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
    named_by_sources(function)
    compiled = numba.njit(**options)(function)
    if not config.DISABLE_JIT:
        compiled._cache = KernelCache(function, options.get("no_cpython_wrapper", False))
    return compiled


def named_by_sources(function: Callable, made_of: str = "") -> Callable:
    """Name a function by this package's sources, for a cache's files.

    Numba takes a cached kernel for good while the file that it is written in stays the same,
    but other files are compiled into it.

    Parameters
    ----------
    function : callable
        What is compiled.
    made_of : str
        What tells it from others with the same name, beside the sources.

    Returns
    -------
    callable
        The function.
    """
    function.__qualname__ += f".{_sources()}{made_of}"
    return function


def task(function: Callable) -> Callable:
    """Compile a function that cpu/launch.py calls, by its address: cached, not for Python."""
    return kernel(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def helper(function: Callable | None = None, *, inline: bool = False) -> Callable:
    """Compile a function that only kernels call.

    What calls it is cached with it inside, so that it needs neither a cache nor a wrapper
    for Python of its own, which take time to compile and to write.

    Parameters
    ----------
    function : callable
        Function of numbers, vectors, arrays and named tuples of these.
    inline : bool
        Whether LLVM must inline it: loops over vectors need it, so that constants stay
        in registers, and LLVM finds the equations of a cell too large.

    Returns
    -------
    callable
        The compiled function; the function itself under ``NUMBA_DISABLE_JIT=1``.
    """
    if function is None:
        return functools.partial(helper, inline=inline)
    wrappers = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(forceinline=inline, **wrappers, **_OPTIONS)(function)

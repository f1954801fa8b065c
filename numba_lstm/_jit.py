"""The decorators that every compiled function of the library goes through."""

from __future__ import annotations

import functools
import hashlib
import os
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

# No fastmath, not even "contract": with it the same source, compiled now or loaded
# from the cache, gave results that differed in the last bit, presumably because which
# products LLVM fuses into additions depends on what it inlined where. Without it they
# are equal. Where an FMA is wanted the source says so (vectors.py).
_OPTIONS: dict[str, Any] = {
    "error_model": "numpy",  # Python's zero-division test blocks vectorisation
    "nogil": True,
}

_RUN = uuid.uuid4().hex[:12]


@functools.cache
def _sources() -> str:
    """Return a hash of this package's sources."""
    package = Path(__file__).parent
    found = hashlib.blake2b(digest_size=6)
    for path in sorted(package.rglob("*.py")):
        found.update(str(path.relative_to(package)).encode() + path.read_bytes())
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
    return kept(numba.njit, function, **(_OPTIONS | options))


def kept(jit: Callable, function: Callable, made_of: str = "", **options: Any) -> Any:
    """Compile a function lazily, and keep the result on disk where possible.

    Parameters
    ----------
    jit : callable
        Numba's decorator, which takes ``cache``.
    function : callable
        What is compiled.
    made_of : str
        What tells it from others with the same name, beside the sources: part of a file's name.
    **options
        Further options of the decorator.

    Returns
    -------
    callable
        The compiled function.
    """
    # Numba takes a cached kernel for good while the file that it is written in stays the
    # same, but other files are compiled into it: the sources are part of its name.
    function.__qualname__ += f".{_sources()}{made_of}"
    try:
        compiled = jit(cache=True, **options)(function)
    except RuntimeError:  # no directory to put the cache into can be written
        _warn_of_no_cache()
        return jit(**options)(function)
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(files, "_index_name"):
        _guard(files)
    return compiled


def _guard(files: Any) -> None:
    """Let no other process, full disk or damaged file stand in the way of a kernel."""
    # Numba numbers the files of a function's variants. Two processes that compile two of
    # them at once take the same number, and then the one's may lie where the index has the
    # other's, for good. Names of each process's own exclude it.
    name = f"{files._index_name.removesuffix('.nbi')}.{_RUN}"
    files._data_name = lambda number: f"{name}-{os.getpid()}.{number}.nbc"
    load, save = files.load, files.save

    def load_if_sound(key: Any) -> Any:
        try:
            return load(key)
        except Exception:  # a damaged file may raise anything: compile, then, and write it anew
            return None

    def save_if_possible(key: Any, data: Any) -> None:
        try:
            try:
                save(key, data)
            except OSError:
                raise
            except Exception:  # the index is damaged: begin a new one
                files.flush()
                save(key, data)
        except OSError:
            _warn_of_no_cache()

    files.load, files.save = load_if_sound, save_if_possible


@functools.cache
def _warn_of_no_cache() -> None:
    warnings.warn(
        "Compiled kernels cannot be kept: no directory for them can be written. Each process "
        "will compile them anew, for ten seconds or so. Set NUMBA_CACHE_DIR to a directory that "
        "can be written.",
        UserWarning,
        stacklevel=2,
    )


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

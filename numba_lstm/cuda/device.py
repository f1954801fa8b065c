"""The GPU itself: everything that the library takes from numba.cuda."""

from __future__ import annotations

import functools
from collections.abc import Callable

from numba import config, cuda

__all__ = ["ALIGNMENT", "cuda", "device_function", "kernel", "multiprocessors"]

# Of arrays in shared memory, in bytes: four numbers are loaded at a time. The simulator knows
# no alignment.
ALIGNMENT = None if config.ENABLE_CUDASIM else 16


def device_function(function: Callable) -> Callable:
    """Compile a function that kernels call, into these."""
    if config.ENABLE_CUDASIM:
        return cuda.jit(device=True)(function)
    return cuda.jit(device=True, forceinline=True)(function)


def kernel(threads: int) -> Callable[[Callable], Callable]:
    """Compile a kernel for blocks of so many threads, lazily."""
    if config.ENABLE_CUDASIM:
        return cuda.jit
    return cuda.jit(launch_bounds=threads)


@functools.cache
def multiprocessors() -> int:
    """How many blocks of threads run side by side, at least."""
    if config.ENABLE_CUDASIM:
        return 1
    return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)

"""The GPU itself: everything that the library takes from numba.cuda."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
from collections.abc import Callable

from numba import config, cuda

__all__ = [
    "ALIGNMENT",
    "cuda",
    "device_function",
    "free_memory",
    "kernel",
    "multiprocessors",
    "why_not",
]

# A grid of few blocks is no news to who fits with small batches, and Numba warns of each anew.
if "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS" not in os.environ:
    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

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


# The oldest that CUDA 13 compiles for.
_LEAST_CAPABILITY = 7, 5


@functools.cache
def multiprocessors() -> int:
    """How many blocks of threads run side by side, at least."""
    if config.ENABLE_CUDASIM:
        return 1
    return int(cuda.get_current_device().MULTIPROCESSOR_COUNT)


def free_memory(wanted: float = 0) -> int:
    """Bytes that may still be allocated on the device, of which so many are wanted."""
    if config.ENABLE_CUDASIM:
        return 2**30
    context = cuda.current_context()
    free = int(context.get_memory_info().free)
    if free < wanted:
        # Arrays of the last fit may wait for Python's garbage collector, which knows nothing of
        # the device's memory, and then for Numba, which keeps up to a fifth of it until it must.
        gc.collect()
        context.memory_manager.deallocations.clear()
        free = int(context.get_memory_info().free)
    return free


def why_not() -> str | None:
    """Return why kernels cannot run here; None if they can."""
    if config.ENABLE_CUDASIM:
        return None
    if importlib.util.find_spec("numba_cuda") is None:
        return 'numba-cuda is not installed (pip install "numba-lstm[cuda]")'
    try:
        if not cuda.is_available():
            return f"no NVIDIA GPU with a driver was found ({_driver_error()})"
        major, minor = cuda.get_current_device().compute_capability
    except Exception as error:  # whatever a driver may have to say
        return f"the GPU cannot be used ({error})"
    if (major, minor) < _LEAST_CAPABILITY:
        return (
            f"the GPU has compute capability {major}.{minor}, and kernels need 7.5 (Turing) or "
            "later"
        )
    return None


def _driver_error():
    error = cuda.cuda_error()
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return " ".join(lines).rstrip(" .:") or "CUDA's driver reports no device"

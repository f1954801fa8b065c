"""The GPU itself: everything that the library takes from numba.cuda."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numba import config, cuda
from numba.cuda.args import ArgHint

from numba_lstm._jit import named_by_sources
from numba_lstm._kernel_cache import guard, warn_of_no_cache
from numba_lstm.cuda.description import describe, digest

__all__ = [
    "ALIGNMENT",
    "TENSOR_CAPABILITY",
    "cuda",
    "device_array",
    "device_function",
    "free_memory",
    "jit",
    "kernel",
    "multiprocessors",
    "pinned_array",
    "tells_of_memory",
    "to_device",
    "why_not",
    "why_not_tensor_cores",
]

# A grid of few blocks is no news to who fits with small batches, and Numba warns of each anew.
if "NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS" not in os.environ:
    config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

# Of arrays in shared memory, in bytes: four numbers are loaded at a time. The simulator knows
# no alignment.
ALIGNMENT = None if config.ENABLE_CUDASIM else 16

# Packages whose code makes kernels, and what they are told by the environment. A toolkit that
# is installed otherwise has no package.
_COMPILERS = "numba-cuda", "llvmlite", "nvidia-nvvm", "nvidia-cuda-nvcc", "nvidia-nvjitlink"
_SETTINGS = "NUMBA_OPT", "NUMBA_CUDA_DEBUGINFO"


def device_function(function: Callable) -> Callable:
    """Compile a function that kernels call, into these."""
    if config.ENABLE_CUDASIM:
        return cuda.jit(device=True)(function)
    return cuda.jit(device=True, forceinline=True)(function)


def jit(function: Callable) -> Any:
    """Compile a kernel for blocks of any size, lazily, kept on disk where possible."""
    return _kept(function)


def kernel(threads: int) -> Callable[[Callable], Any]:
    """Compile a kernel for blocks of so many threads, lazily, kept on disk where possible."""
    return functools.partial(_kept, launch_bounds=threads)


class _Prepares:
    """Tells Numba, launch by launch, that arrays need no preparing.

    With numba-cuda 0.30 this took two fifths of what the host does for a batch.
    """

    def prepare_args(self, ty: Any, val: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return the type and the value of an argument: see ``extensions`` of ``cuda.jit``."""
        ready = getattr(val, "_strided_memory_view_shim", None)  # what Numba makes of it itself
        return (ty, val) if ready is None else (ty, _Ready(ready))


class _Ready(ArgHint):
    """An array on the device, where it is to be."""

    def to_device(self, retr: list, stream: Any = 0) -> Any:
        """Return it."""
        return self.value


def _kept(function, **options):
    if config.ENABLE_CUDASIM:
        return cuda.jit(function)
    # Numba tells kernels that were made by one factory from each other by what they enclose,
    # pickled; pickles of intrinsics and device functions are others in each process. Here a
    # description is part of the file's name, and Numba sees nothing enclosed.
    made_of = digest(describe(function), options, _compiler())
    named_by_sources(function, f"-{made_of}")
    options["extensions"] = [_Prepares()]
    try:
        compiled = cuda.jit(cache=True, **options)(function)
    except RuntimeError:  # no directory to put the cache into can be written
        warn_of_no_cache()
        return cuda.jit(**options)(function)
    cache: Any = compiled._cache
    if hasattr(cache, "_py_func"):  # a cache, not what stands for none
        guard(cache._cache_file)
        cache._py_func = SimpleNamespace(__code__=function.__code__, __closure__=None)
    return compiled


@functools.cache
def _compiler() -> tuple:
    """What compiles; Numba looks at its own version, at CUDA's and at the device itself."""
    found = []
    for name in _COMPILERS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return "numba_cuda" in cuda.__file__, *found, *map(os.environ.get, _SETTINGS)


# What the driver calls it, in the text of each error.
_NO_MEMORY = "OUT_OF_MEMORY"

# The oldest that CUDA 13 compiles for.
_LEAST_CAPABILITY = 7, 5

# The oldest whose tensor cores multiply bfloat16 and TensorFloat-32.
TENSOR_CAPABILITY = 8, 0


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


def device_array(shape: int | tuple[int, ...], dtype: Any) -> Any:
    """Return an array on the device, of whatever was there."""
    with tells_of_memory(int(np.prod(shape)) * np.dtype(dtype).itemsize):
        return cuda.device_array(shape, dtype)


def to_device(array: np.ndarray) -> Any:
    """Return a copy of an array on the device."""
    with tells_of_memory(array.nbytes):
        return cuda.to_device(array)


def pinned_array(n_bytes: int) -> Any:
    """Return bytes of the host's memory that stay where they are, for copies that overlap."""
    with tells_of_memory(n_bytes, "The host has no more page-locked memory for copies to the GPU"):
        return cuda.pinned_array(n_bytes, np.uint8)


@contextlib.contextmanager
def tells_of_memory(
    asked: int | None = None, what: str = "The GPU has run out of memory"
) -> Iterator[None]:
    """Turn what the driver raises for want of memory into a MemoryError that says what to do.

    Parameters
    ----------
    asked : int, optional
        Bytes that are asked for within.
    what : str
        What there is none of.
    """
    try:
        yield
    except Exception as error:  # of Numba or of CUDA's own packages, by whoever called the driver
        if _NO_MEMORY not in str(error) or isinstance(error, MemoryError):
            raise
        found = [] if asked is None else [f"{asked:,} bytes were asked for"]
        with contextlib.suppress(Exception):
            free = int(cuda.current_context().get_memory_info().free)
            found.append(f"{free:,} bytes of the GPU's memory are free")
        raise MemoryError(
            f"{what}: {' and '.join(found) or error}. Use a smaller batch_size, fewer models at "
            "once, dtype='float32' if it is 'float64', or device='cpu'."
        ) from error


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
    try:
        importlib.import_module("numba.cuda.cudaimpl")
    except Exception as error:  # numba-cuda 0.30 asks NumPy 2.5 for what that no longer has
        return (
            f"numba-cuda {importlib.metadata.version('numba-cuda')} does not load with NumPy "
            f'{np.__version__} ({error}; try pip install "numba-lstm[cuda]")'
        )
    return None


def why_not_tensor_cores() -> str | None:
    """Return why kernels that run here cannot use tensor cores; None if they can."""
    if config.ENABLE_CUDASIM:
        return None
    major, minor = cuda.get_current_device().compute_capability
    if (major, minor) < TENSOR_CAPABILITY:
        return f"has compute capability {major}.{minor}"
    return None


def _driver_error():
    error = cuda.cuda_error()
    lines = [line.strip() for line in str(error or "").splitlines() if line.strip()]
    return " ".join(lines).rstrip(" .:") or "CUDA's driver reports no device"

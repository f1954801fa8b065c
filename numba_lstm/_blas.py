"""BLAS, held to one thread where others would be in the way of the kernels'."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from threadpoolctl import ThreadpoolController

from numba_lstm._process import WhileAnyone


@functools.lru_cache(maxsize=2)
def _libraries(scipy_is_loaded: bool) -> list:
    """Those that are loaded, of which SciPy may bring another: it takes 6 ms to look for them."""
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _numbers() -> list:
    libraries = _libraries("scipy.linalg" in sys.modules)
    return [(library, library.num_threads) for library in libraries]


def _limit() -> None:
    _restore((library, 1) for library in _libraries("scipy.linalg" in sys.modules))


def _restore(numbers: Iterable) -> None:
    for library, n_threads in numbers:
        if n_threads is not None:
            library.set_num_threads(n_threads)


# OpenBLAS's threads, once they have helped, wait for more in a loop that keeps their cores busy:
# for 0.1 s all that runs in parallel takes twice as long. Two limits of threadpoolctl that end in
# the order in which they began would leave the first's.
one_blas_thread = WhileAnyone(_numbers, _limit, _restore)

"""BLAS, held to one thread where others would be in the way of the kernels'."""

from __future__ import annotations

import functools
import sys

from threadpoolctl import ThreadpoolController

from numba_lstm._process import WhileAnyone


@functools.lru_cache(maxsize=2)
def _libraries(scipy_is_loaded: bool) -> ThreadpoolController:
    """Those that are loaded, of which SciPy may bring another: it takes 6 ms to look for them."""
    return ThreadpoolController()


def _limit():
    return _libraries("scipy.linalg" in sys.modules).limit(limits=1, user_api="blas")


# OpenBLAS's threads, once they have helped, wait for more in a loop that keeps their cores busy:
# for 0.1 s all that runs in parallel takes twice as long. Two limits of threadpoolctl that end in
# the order in which they began would leave the first's.
one_blas_thread = WhileAnyone(_limit, lambda limits: limits.restore_original_limits())

"""One thread for BLAS where its threads cost more than they bring."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits

_lock = threading.Lock()
_held = 0
_limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS, of the whole process, to one thread in a ``with`` block.

    SciPy's L-BFGS-B calls it for many small products, and its threads and those of the kernels
    wait in each other's way: with them an iteration took 40 ms or more on two busy cores,
    mostly below 2 ms without. The last of several Python threads to leave gives BLAS its
    threads back.
    """
    global _held, _limits
    with _lock:
        if _held == 0:
            _limits = threadpool_limits(limits=1, user_api="blas")
        _held += 1
    try:
        yield
    finally:
        with _lock:
            _held -= 1
            if _held == 0:
                _limits.restore_original_limits()

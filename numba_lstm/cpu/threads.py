"""How many threads a call may use."""

from __future__ import annotations

import functools
import os

import joblib
from joblib.parallel import get_active_backend
from numba import config


def resolve_n_jobs(n_jobs: int | None) -> int:
    """Turn the parameter ``n_jobs`` into a number of threads.

    Parameters
    ----------
    n_jobs : int or None
        None takes every core that the process may use, as joblib counts them (a container
        may have a share of the machine), and one inside a joblib worker, whose siblings have
        the others. A positive number is obeyed; -1 means all cores, -2 all but one, and so on.

    Returns
    -------
    int
        At least 1, and at most what Numba was started with.

    Raises
    ------
    ValueError
        If it is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs=0: pass None or -1 for all cores, or a positive number.")
    if n_jobs is not None and n_jobs > 0:
        return min(n_jobs, config.NUMBA_NUM_THREADS)
    bound_to = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    cores = min(_count(bound_to), config.NUMBA_NUM_THREADS)
    if n_jobs is None:
        in_worker = (get_active_backend()[0].nesting_level or 0) > 0
        return 1 if in_worker else cores
    return max(cores + 1 + n_jobs, 1)


@functools.lru_cache(maxsize=8)
def _count(bound_to: int | None) -> int:
    """Cores that the process may use, of those that it is bound to: 50 us, every time."""
    return joblib.cpu_count()

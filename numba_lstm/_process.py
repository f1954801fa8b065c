"""Which process this is: imported with the package, long before any kernel."""

import multiprocessing
import os
import sys
from pathlib import Path

_FORKED_WITHOUT_EXEC = 0x40  # Linux: PF_FORKNOEXEC of a task's flags


def _inherits_threads() -> bool:
    """Whether threads that Numba counts on may be those of a process that forked this one.

    Numba then ran parallel code before the package is imported, here or there: what did
    so here after a fork is taken for its parent's.
    """
    numba = sys.modules.get("numba.np.ufunc.parallel")
    if not getattr(numba, "_is_initialized", False):
        return False
    try:  # proc(5): the flags are the seventh number behind the name
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        return bool(int(fields[6]) & _FORKED_WITHOUT_EXEC)
    except (OSError, IndexError, ValueError):
        return False


_IMPORTING_PROCESS, _IMPORTED_AFTER_A_FORK = os.getpid(), _inherits_threads()


def in_forked_child() -> bool:
    """Whether this process was forked, so that its parent's threads are not its own.

    OpenMP ends a forked child that starts a parallel loop.
    """
    if os.getpid() != _IMPORTING_PROCESS or _IMPORTED_AFTER_A_FORK:
        return True
    # A worker of a pool, whose siblings have the other cores, wherever it was imported.
    in_child = multiprocessing.parent_process() is not None
    return in_child and multiprocessing.get_start_method() == "fork"

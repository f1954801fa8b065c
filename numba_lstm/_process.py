"""Which process this is: imported with the package, long before any kernel."""

import multiprocessing
import os

_IMPORTING_PROCESS = os.getpid()


def in_forked_child() -> bool:
    """Whether this process was forked, so that its parent's threads are not its own.

    OpenMP ends a forked child that starts a parallel loop.
    """
    if os.getpid() != _IMPORTING_PROCESS:
        return True
    # The package may have been imported only after the fork.
    in_child = multiprocessing.parent_process() is not None
    return in_child and multiprocessing.get_start_method() == "fork"

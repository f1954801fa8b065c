"""Which process this is, and what holds for all of it.

Imported with the package, long before any kernel.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class WhileAnyone:
    """A state of the process that holds while any of its threads is within a ``with`` statement.

    An interrupt within ``begin`` or ``end`` leaves it as it was.

    Parameters
    ----------
    look : callable
        Returns how it is, before the first thread enters.
    begin : callable
        Called as it enters.
    end : callable
        Called with what was before as the last one leaves; twice does no harm.
    """

    def __init__(
        self, look: Callable[[], Any], begin: Callable[[], None], end: Callable[[Any], None]
    ) -> None:
        self._look, self._begin, self._end = look, begin, end
        self._n, self._before = 0, None
        self._lock = threading.RLock()  # a signal's handler may enter in the thread that has it
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def __enter__(self) -> None:
        with self._lock:
            if self._n == 0:
                self._before = self._look()
            self._n += 1  # before anything begins: a handler, or a fork's child, then knows of it
            if self._n > 1:
                return
            try:
                self._begin()
            except BaseException:
                self._n = 0
                self._end(self._before)
                raise

    def __exit__(self, *error: object) -> None:
        with self._lock:
            if self._n > 1:
                self._n -= 1
            elif self._n == 1:  # 0, if this thread was forked in between
                try:
                    self._end(self._before)
                    self._n = 0
                except BaseException:
                    self._n = 0
                    self._end(self._before)
                    raise

    def _begin_anew(self) -> None:
        """A forked child has none of the threads that are within."""
        was_entered, self._n, self._lock = self._n > 0, 0, threading.RLock()
        if was_entered:
            self._end(self._before)

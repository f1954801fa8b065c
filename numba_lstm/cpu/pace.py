"""How many threads the next call takes, by how long the last ones took.

Threads meet after every stage of a batch. On a machine that others keep busy the system puts
one of them aside, for milliseconds, and all wait for it: a small batch may then take many
times as long on two threads as on one. No number depends on how many there are, so a call
takes what was faster of late: all threads, or the caller's alone.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any

# The first calls go to all threads (they compile, and start these), the next to one.
_OF_ALL, _OF_ONE = 2, 2

# A call that takes as many seconds is not tried on one thread: what was put aside comes back
# within some milliseconds.
_LONG = 0.1

# Losses in calls on one thread: what a call counts for at most, so that a single stall decides
# nothing; what has to come together; and how much of it is there when all are tried again.
_AT_MOST, _ENOUGH, _SUSPECTED = 3.0, 4.0, 3.0

# The losses of all threads may be so much of the time on one until they are tried again, which
# is after so many calls at the least and at the most.
_SHARE, _SOONEST, _LATEST = 0.05, 16, 1000

# What is older, in seconds, is forgotten.
_OLD = 1.0


class Pace:
    """What is known of calls of one kind and size on one thread, and on all.

    Parameters
    ----------
    n_threads : int
        All.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._forget()

    def _forget(self) -> None:
        self._calls, self._left, self._last = 0, 0, -math.inf
        self._one = math.inf  # seconds of a call's unit of work on one thread
        # A cumulative sum of what all threads lost beside one, and that without limits.
        self._loss, self._lost = _SUSPECTED, 0.0

    def choose(self) -> int:
        """Return how many threads the next call is to take: 1 or all."""
        if time.perf_counter() - self._last > _OLD:
            self._forget()
        tries_one = _OF_ALL <= self._calls < _OF_ALL + _OF_ONE
        return 1 if tries_one or self._left > 0 else self.n_threads

    def took(self, n_threads: int, seconds: float, work: int) -> None:
        """Take note of a call.

        Parameters
        ----------
        n_threads : int
            What it took of them.
        seconds : float
            How long it took.
        work : int
            What it did, in units of which a call of this kind and size has more or less.
        """
        self._last = time.perf_counter()
        self._calls += 1
        if self._calls == _OF_ALL and seconds > _LONG:
            self._calls += _OF_ONE
        rate = seconds / max(work, 1)
        if n_threads == 1:
            tried = self._left == 0
            self._one = min(self._one, rate) if tried else self._one + (rate - self._one) / 8
            self._left = max(0, self._left - 1)
            return
        if self._one == math.inf:
            return
        loss = rate / self._one - 1
        self._loss = max(0.0, self._loss + min(loss, _AT_MOST))
        self._lost = self._lost + loss if self._loss else 0.0
        if self._loss >= _ENOUGH:
            self._left = int(min(max(self._lost / _SHARE, _SOONEST), _LATEST))
            self._loss, self._lost = _SUSPECTED, 0.0


@functools.lru_cache(maxsize=64)
def paces(*key: Any) -> dict[Any, Pace]:
    """Return what is known of the calls of networks that are alike.

    Parameters
    ----------
    *key : hashable
        What makes them alike.
    """
    return {}

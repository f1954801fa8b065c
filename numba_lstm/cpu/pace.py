"""How many threads the next call takes, by how long the last ones took.

Threads meet after every stage of a batch. On a machine that others keep busy the system puts
one of them aside, for milliseconds, and all wait for it: a small batch may then take many
times as long on two threads as on one. No number depends on how many there are, so a call
takes what was faster of late: all threads, or half of them, and so on down to the caller's
alone.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any

# So many calls tell how fast a number of threads is; the first one may start or end some. Fewer
# threads than all are not tried before there have been many: who makes a few calls on a quiet
# machine is not to pay for it.
_ENOUGH_CALLS, _MANY_CALLS = 3, 32

# Where half of the threads take as much longer, fewer still are not tried.
_SLOWER = 1.1

# A call that takes as many seconds is not tried on fewer threads: what was put aside comes back
# within some milliseconds.
_LONG = 0.1

# What all threads lose beside fewer, in calls on fewer, is summed up over about so many calls, of
# which none counts for more than so much: a quiet machine, too, stalls for a moment. Fewer are
# taken while the sum is a loss.
_RECENT, _AT_MOST = 64, 16.0

# All threads are tried again after so many calls at the least and at the most: soon at first, and
# after so many times as many where they have lost again before they gained.
_SOONEST, _LATEST, _LONGER = 16, 1000, 8

# What is older, in seconds, is forgotten.
_OLD = 1.0


class Pace:
    """What is known of calls of one kind and size on all threads, and on fewer.

    Parameters
    ----------
    n_threads : int
        All; at least 2.
    n_first : int
        Calls that go to all threads before fewer are tried.
    """

    def __init__(self, n_threads: int, n_first: int = _MANY_CALLS) -> None:
        self.n_threads = n_threads
        self.n_first = n_first
        # Half of them choose for themselves; so few that half of them is one do not.
        self._half = Pace(n_threads // 2, _ENOUGH_CALLS) if n_threads > 3 else None
        self._forget()

    def _forget(self) -> None:
        self._calls, self._left, self._before, self._last = 0, 0, 0, -math.inf
        # Seconds of a call's unit of work, on all threads and on fewer; these are tried first.
        self._all, self._fewer, self._tries = math.inf, math.inf, True
        # What all threads lost of late (a gain is less than nothing), and what they gain where
        # nothing holds them up; for how long fewer are taken next.
        self._lost, self._gain, self._stay = 0.0, 0.0, _SOONEST

    def choose(self) -> int:
        """Return how many threads the next call is to take."""
        if time.perf_counter() - self._last > _OLD:
            self._forget()
        if self._left == 0 and not (self._tries and self._calls >= self.n_first):
            return self.n_threads
        return 1 if self._half is None else self._half.choose()

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
        # The first call on another number of threads starts or ends some: it tells nothing.
        counts, self._before = n_threads == self._before, n_threads
        rate = seconds / max(work, 1)
        if n_threads < self.n_threads:
            if self._half is not None:
                self._half.took(n_threads, seconds, work)
            if self._tries:
                self._fewer = min(self._fewer, rate) if counts else self._fewer
                self._tries = not self._has_tried()
                self._lost = self._gain = min(self._all / self._fewer - 1, 0.0) * _RECENT
            elif counts:
                self._fewer += (rate - self._fewer) / 8
            self._left = max(0, self._left - 1)
        elif counts and self._tries:
            self._all = min(self._all, rate)
            self._tries = self._calls < self.n_first or seconds < _LONG
        elif counts and self._fewer < math.inf:
            loss = min(rate / self._fewer - 1, _AT_MOST)
            self._lost += loss - self._lost / _RECENT
            if self._lost > 0:
                self._left, self._lost = self._stay, self._gain / 4
                self._stay = min(_LONGER * self._stay, _LATEST)
            elif self._lost < self._gain / 2:
                self._stay = _SOONEST

    def _has_tried(self) -> bool:
        """Whether it is known what fewer threads take."""
        half = self._half
        if half is None:
            return self._calls >= self.n_first + _ENOUGH_CALLS
        slower = half._calls >= half.n_first and half._all > _SLOWER * self._all
        return slower or not half._tries


@functools.lru_cache(maxsize=64)
def paces(*key: Any) -> dict[Any, Pace]:
    """Return what is known of the calls of networks that are alike.

    Parameters
    ----------
    *key : hashable
        What makes them alike.
    """
    return {}

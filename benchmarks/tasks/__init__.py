"""The tasks of learning.py: what is trained, and what it is held to."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Run(NamedTuple):
    """What one seed came to.

    Attributes
    ----------
    figure : float
        What the task is held to.
    met : bool
        Whether it is met.
    more : dict
        What else there is to say.
    """

    figure: float
    met: bool
    more: dict


@dataclass
class Task:
    """A task, and the figure that it is held to.

    Attributes
    ----------
    name, unit, held_to, source : str
        What is printed: the task, what is counted, the figure and whose it is.
    run : callable
        ``run(seed, quick, n_jobs)`` returns a Run.
    settings : dict
        The estimator's parameters, for the record.
    seeds : int
        How many it is run with, if not told otherwise.
    present : callable
        Whether the data are there.
    """

    name: str
    unit: str
    held_to: str
    source: str
    run: Callable[[int, bool, int | None], Run]
    settings: dict
    seeds: int = 5
    present: Callable[[], bool] = field(default=lambda: True)

    def timed(self, seed, quick, n_jobs):
        began = time.perf_counter()
        return self.run(seed, quick, n_jobs), time.perf_counter() - began

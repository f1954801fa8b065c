"""The buffers that the kernels work in, kept from batch to batch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from numba_lstm.cpu.allocation import Needs, Workspace, allocate
from numba_lstm.parameters import Layout

# A thread keeps the buffers of its last prediction, if they are small, for the next: to
# make new ones takes as long as to predict a sequence with a small network.
KEPT_BYTES = 2**22
_kept = threading.local()
_KEPT = {Needs("predict"), Needs("predict", given_state=True)}


class Buffers:
    """Workspaces of one network, made anew only for a larger batch.

    Parameters
    ----------
    layout : Layout
        The network's.
    dtype : numpy.dtype
        float32 or float64.
    per_step : bool
        Whether every time step has an output.
    """

    def __init__(self, layout: Layout, dtype: np.dtype, per_step: bool) -> None:
        self._key = layout, dtype, per_step
        self._held: dict[Needs, tuple] = {}

    def room(
        self, needs: Needs, S: int, B: int, Q: int, n_tasks: int, varies: bool = False
    ) -> Workspace:
        """Return buffers for S time steps side by side, B sequences, Q outputs and the tasks.

        If S varies from batch to batch there is room to spare, which takes no memory until it is
        used: to make new buffers takes as long as some batches, page by page.
        """
        shared = needs in _KEPT
        sizes: tuple[int, ...] = (S, B, Q, n_tasks)
        held: dict[Any, Any] = _kept.__dict__ if shared else self._held
        owner, has, work = held.get(needs, (None, (), None))
        if owner != self._key or any(a < b for a, b in zip(has, sizes, strict=True)):
            if varies:
                # But for the tasks: of more of them each has less room to multiply in.
                sizes = (*(size + size // 4 for size in sizes[:3]), n_tasks)
            if owner == self._key and not shared:
                sizes = tuple(map(max, sizes, has))  # long batches and short ones in turn
            work = allocate(*self._key, needs, *sizes)
            if not shared or work.memory.nbytes <= KEPT_BYTES:
                held[needs] = self._key, sizes, work
        return work

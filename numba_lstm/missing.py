"""Sequences with gaps: inputs that are NaN, and channels that say so.

Of each feature the network sees three: its last value seen, whether it is missing, and
for how long, log(1 + steps since it was seen). Before a first value there is the mean.
A sequence without gaps has zeros in the last two.

Reference: Che et al., "Recurrent Neural Networks for Multivariate Time Series with Missing
Values", Scientific Reports 8, 2018, which feeds masks and intervals to the network.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from numba_lstm.sequences import Sequences


class MaskedSequences(Sequences):
    """Sequences whose gaps are filled, with two more channels for each feature.

    Parameters
    ----------
    sequences : Sequences
        Sequences of F features, with NaN in them.
    fill : ndarray of shape (F,)
        What stands for a feature before it is first seen.
    """

    def __init__(self, sequences: Sequences, fill: np.ndarray) -> None:
        super().__init__(sequences.data, sequences.kind, sequences.feature_names)
        self._raw, self._fill = sequences, np.asarray(fill, np.float64)
        self.n_inputs = 3 * sequences.n_inputs
        self.gaps, self.decay = sequences.gaps, sequences.decay
        self._rows = None  # nothing that a kernel could read lies anywhere

    def gather(
        self, index: np.ndarray, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copy some sequences out, filled; see :meth:`Sequences.gather`."""
        if out is None:
            out = np.empty((int(self.lengths[index].sum()), self.n_inputs), self.dtype)
        _, starts = self._raw.gather(index, out[:, : self._raw.n_inputs])
        begins = np.zeros(len(out), np.bool_)
        begins[starts] = True
        _kernel()(out, begins, self._fill.astype(out.dtype))
        return out, starts


@functools.cache
def _kernel():
    """Compile nothing, and do not import Numba, before there are gaps to fill."""
    from numba_lstm._jit import kernel

    return kernel(_fill_gaps)


def _fill_gaps(values, begins, fill):
    """Fill rows (n, 3F) of time steps, whose first F columns hold what was seen.

    ``begins`` tells where a sequence does.
    """
    n, F = len(values), len(fill)
    for j in range(F):
        last, since = fill[j], 0
        for t in range(n):
            if begins[t]:
                last, since = fill[j], 0
            missing = np.isnan(values[t, j])
            if missing:
                since += 1
            else:
                last, since = values[t, j], 0
            values[t, j] = last
            values[t, F + j] = missing
            values[t, 2 * F + j] = np.log1p(since)


class GapFiller:
    """Fills the gaps of streams, one time step after the other.

    Parameters
    ----------
    fill : ndarray of shape (F,)
        What stands for a feature before it is first seen.
    n : int
        Streams side by side.
    """

    def __init__(self, fill: np.ndarray, n: int) -> None:
        self._fill = fill
        self._last = np.tile(fill, (n, 1))
        self._since = np.zeros(self._last.shape, np.int64)

    def reset(self, which: Any = slice(None)) -> None:
        """Forget what was seen, of all streams or of some."""
        self._last[which] = self._fill
        self._since[which] = 0

    def fill(self, x: np.ndarray) -> np.ndarray:
        """Return what the network sees of a step x (n, F): (n, 3F)."""
        missing = np.isnan(x)
        self._last = np.where(missing, self._last, x)
        self._since = np.where(missing, self._since + 1, 0)
        return np.hstack([self._last, missing, np.log1p(self._since)])

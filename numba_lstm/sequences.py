"""Sequences, of one length or of many, and batches of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Some sequences in order of falling length, as the network takes them.

    Attributes
    ----------
    values : ndarray of shape (M, F)
        Rows of inputs, float32 or float64, among which are the batch's.
    starts : ndarray of int64 of shape (B,)
        Row of ``values`` with each sequence's first step; its others follow.
    lengths : ndarray of int64 of shape (B,)
        Time steps of each sequence, none longer than the one before.
    y : ndarray of shape (Q, K), or (Q, 1) with the index of the class
        Targets, sequence after sequence: Q = B, or S, the sum of the lengths, with one
        output for every step.
    weight : ndarray of shape (Q,)
        Weight of each target in the loss.
    decay : ndarray of float64 of shape (M,)
        What each row's step adds to the share of the cell that decays with time, g - 1 of
        cell.py.
    """

    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    decay: np.ndarray | None = None

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """Part rows (S, ...), one for every time step, by sequence."""
        return np.split(rows, np.cumsum(self.lengths)[:-1])


class _Places(NamedTuple):
    """All sequences of a small array (N, T, F), in order; nobody writes into it."""

    everything: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


# Sequences of an array whose places are kept for the next array of its shape, at most.
_FEW = 4096


@functools.lru_cache(maxsize=8)
def _places(N: int, T: int) -> _Places:
    index, lengths = np.arange(N), np.full(N, T, np.int64)
    index.flags.writeable = lengths.flags.writeable = False
    return _Places(index, index * T, lengths)  # a kernel takes ``starts`` only if it is writable


class Room:
    """Memory for one array at a time.

    Of new memory the system hands out page after page, as each is first written: batches of
    64 sequences of 10 to 100 steps of 16 features take 300 us to copy there, 15 us to here.
    """

    _bytes = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array with any content, in the place of the last one."""
        n = math.prod(shape) * dtype.itemsize
        if n > self._bytes.size:
            self._bytes = np.empty(n, np.uint8)
        return self._bytes[:n].view(dtype).reshape(shape)


class Sequences:
    """N checked sequences of F features, of one length or of many.

    Parameters
    ----------
    data : ndarray of shape (N, T, F), or list of ndarray of shape (T_i, F)
        The values, in whatever dtype and memory layout they came; not copied.
    kind : {"2-D", "3-D", "list"}
        What they came as, from which the shape of results follows.
    feature_names : list of str, optional
        Names of the features, where the sequences are frames.
    """

    def __init__(
        self,
        data: np.ndarray | list[np.ndarray],
        kind: str,
        feature_names: list[str] | None = None,
    ) -> None:
        self.data = data
        self.kind = kind
        self.feature_names = feature_names
        # Of all steps, sequence after sequence: time since the step before, and what it
        # lets decay (times.py).
        self._n_copied = 0
        self.gaps: np.ndarray | None = None
        self.decay: np.ndarray | None = None
        if isinstance(data, list):
            self.lengths = np.array([len(sequence) for sequence in data], np.int64)
            self.n_inputs, self.shortest = data[0].shape[1], int(self.lengths.min())
            self._all, self._rows = None, None
        else:
            N, self.shortest, self.n_inputs = data.shape
            # In a small prediction it tells to look up, rather than to make, what follows from
            # N and T: 2 of 25 us.
            self._all = _places(N, self.shortest) if N <= _FEW else None
            self.lengths = (
                np.full(N, self.shortest, np.int64) if self._all is None else self._all.lengths
            )
            self._rows = self._find_rows()

    def __len__(self) -> int:
        return len(self.lengths)

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """What :meth:`gather` returns: float32 where that holds the values exactly, or float64."""
        data = self.data if isinstance(self.data, list) else [self.data]
        kinds = {values.dtype for values in data}
        exact = all(np.can_cast(kind, np.float32) for kind in kinds)
        return np.dtype(np.float32 if exact else np.float64)

    def gather(
        self, index: np.ndarray, out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copy some sequences out, one after another.

        Parameters
        ----------
        index : ndarray of int of shape (B,)
            Which, in the order wanted.
        out : ndarray of shape (S, F), optional
            Where to, as ``values`` are; S is the sum of their lengths.

        Returns
        -------
        values : ndarray of shape (S, F)
            The values, in :attr:`dtype`.
        starts : ndarray of int64 of shape (B,)
            Where each sequence begins in ``values``.
        """
        lengths = self.lengths[index]
        S, F = int(lengths.sum()), self.data[0].shape[-1]
        values = np.empty((S, F), self.dtype) if out is None else out
        if not isinstance(self.data, list):
            values.reshape(len(index), -1, F)[...] = self.data[index]
        elif self._are_bytes_of(values) and (places := self._places) is not None:
            from numba_lstm.cpu.gathering import gather_bytes  # which imports Numba

            index = np.asarray(index, np.int64)
            gather_bytes(*places, index, values.reshape(-1).view(np.uint8))
        else:
            np.concatenate([self.data[i] for i in index], out=values, casting="same_kind")
            self._n_copied += len(index)
        return values, lengths.cumsum() - lengths

    def batch(self, index: np.ndarray, room: Room | None = None) -> Batch:
        """Return some sequences, in order of falling length, as a batch without targets.

        Where a kernel can read the data as they lie, nothing is copied. Else they are copied
        to ``room``, where the next batch's overwrite them, or to memory of their own.
        """
        if self._rows is not None:
            if self._all is not None and index is self._all.everything:
                return Batch(self._rows, self._all.starts, self.lengths, None, None, self.decay)
            lengths = self.lengths[index]
            return Batch(self._rows, index * lengths[0], lengths, None, None, self.decay)
        lengths, decay, out = self.lengths[index], self.decay, None
        if room is not None:
            out = room.array((int(lengths.sum()), self.n_inputs), self.dtype)
        values, starts = self.gather(index, out)
        if decay is not None:
            rows = np.repeat(self._begins[index] - starts, lengths)
            decay = decay[rows + np.arange(len(rows))]
        return Batch(values, starts, lengths, decay=decay)

    @property
    def is_in_place(self) -> bool:
        """Whether a batch reads the data where they lie."""
        return self._rows is not None

    def _are_bytes_of(self, values):
        """Whether rows of ``values`` lie one behind another, in the dtype of the data."""
        return values.flags.c_contiguous and values.dtype == self.dtype

    @property
    def _places(self):
        """Where each array of a list lies, and how many bytes it has.

        None while it is not worth 1 us an array to find out, or if they are not all alike.
        """
        if self._n_copied > 2 * len(self):  # in a fit, from its second epoch on
            return self._found_places
        return None

    @functools.cached_property
    def _found_places(self):
        arrays, dtype = self.data, self.dtype
        if not all(
            type(a) is np.ndarray and a.dtype == dtype and a.flags.c_contiguous for a in arrays
        ):
            return None
        places = [a.__array_interface__["data"][0] for a in arrays]
        return np.array(places, np.int64), np.array([a.nbytes for a in arrays], np.int64)

    @functools.cached_property
    def _begins(self):
        """Number of the first time step of each sequence, among those of all."""
        return np.cumsum(self.lengths) - self.lengths

    def _find_rows(self):
        """All time steps as one array (N T, F) that shares the data, or None."""
        data = self.data
        if (
            data.dtype.char in "fd"
            and data.dtype.isnative
            # Read-only arrays are another type to Numba: kernels would compile twice.
            and data.flags.carray
        ):
            return np.asarray(data).reshape(-1, self.n_inputs)
        return None

    def by_length(self, index: np.ndarray, size: int | None = None) -> np.ndarray:
        """Return ``index`` in order of falling length, ties as they stand.

        With ``size`` each so many of them are ordered by themselves.
        """
        if not isinstance(self.data, list):
            return index
        shorter = -self.lengths[index]
        if size is None or size >= len(index):
            return index[np.argsort(shorter, kind="stable")]
        return index[np.lexsort((shorter, np.arange(len(index)) // size))]

    def parts(
        self, index: np.ndarray | None = None, max_steps: int | None = None
    ) -> Iterable[np.ndarray]:
        """Return ``index`` (all sequences by default) in parts of about ``max_steps`` steps.

        In order of falling length, as a batch needs them; a part has at least one
        sequence, and by default about 65,536 numbers, so that a pass over the data
        needs little memory.
        """
        max_steps = max_steps or max(1, 65_536 // self.n_inputs)
        few = isinstance(self.data, np.ndarray) and self.data.size <= max_steps * self.n_inputs
        if few and index is None:
            return (np.arange(len(self)) if self._all is None else self._all.everything,)
        order = self.by_length(np.arange(len(self)) if index is None else index)
        group = (np.cumsum(self.lengths[order]) - 1) // max_steps
        return np.split(order, np.flatnonzero(np.diff(group)) + 1)

    def restore(self, per_step: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Give arrays (T_i, ...), one a sequence, the shape in which X came."""
        return per_step if self.kind == "list" else np.stack(per_step)

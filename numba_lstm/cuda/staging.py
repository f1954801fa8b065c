"""Copies to the device that go on while the kernels run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numba_lstm.cuda.device import cuda, device_array, pinned_array

# Each array begins at a multiple of this, which any dtype's size divides.
_ALIGNMENT = 256

# Parts of a place that are remembered: Numba takes longer to make one than to launch a kernel.
_MOST_PARTS = 2**13


class Staging:
    """Two places on the device: one is written while the other is read.

    Parameters
    ----------
    stream : stream
        Where what reads the copies is launched.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._copies = stream, cuda.stream()
        self._places = [_Place(), _Place()]
        self._turn = 0

    def copy(self, groups: Sequence[Sequence[np.ndarray]]) -> list[list[Any]]:
        """Copy arrays to the device; :meth:`used` says when they were last asked for.

        Parameters
        ----------
        groups : sequence of sequence of ndarray
            The arrays.

        Returns
        -------
        list of list of device arrays
            Their copies, which are there for whatever is launched on the stream from now on.
        """
        place = self._places[self._turn]
        place.free.synchronize()
        layout, n_bytes = [], 0
        for group in groups:
            for array in group:
                layout.append(n_bytes)
                n_bytes += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        place.grow(n_bytes)
        offsets = iter(layout)
        copies: list[list[Any]] = []
        for group in groups:
            copies.append([])
            for array in group:
                begin = next(offsets)
                end = begin + array.nbytes
                flat = np.ascontiguousarray(array).reshape(-1)
                place.host[begin:end] = flat.view(np.uint8)
                copies[-1].append(place.part(begin, end, array))
        place.device[:n_bytes].copy_to_device(place.host[:n_bytes], stream=self._copies)
        place.ready.record(self._copies)
        place.ready.wait(self._stream)
        return copies

    def used(self) -> None:
        """All that reads the last copies has been launched."""
        self._places[self._turn].free.record(self._stream)
        self._turn = 1 - self._turn


class _Place:
    """Memory of the host that no page fault interrupts, and as much of the device's."""

    def __init__(self):
        self.free, self.ready = cuda.event(), cuda.event()
        self.host, self.device = np.empty(0, np.uint8), None
        self._parts = {}

    def grow(self, n_bytes):
        """Have room for so many bytes."""
        if self.host.size < n_bytes or self.device is None:
            n_bytes = max(n_bytes + n_bytes // 4, 1)
            self.host = pinned_array(n_bytes)
            self.device = device_array(n_bytes, np.uint8)
            self._parts.clear()

    def part(self, begin, end, like):
        """Bytes of the device's memory, as an array of another's shape and dtype."""
        key = begin, like.shape, like.dtype.char
        found = self._parts.get(key)
        if found is None:
            if len(self._parts) == _MOST_PARTS:
                self._parts.clear()
            found = self.device[begin:end].view(like.dtype).reshape(*like.shape)
            self._parts[key] = found
        return found

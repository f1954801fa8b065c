"""Arrays on the device that are used again from batch to batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from numba_lstm.cuda.device import device_array


class Workspace:
    """Arrays by name, which grow when a batch needs more than those before it.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the arrays, where nothing else is asked for.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = np.dtype(dtype)
        self._flat: dict[Any, Any] = {}
        self._views: dict[Any, Any] = {}

    def flat(self, name: Any, n: int, dtype: Any = None) -> Any:
        """Return a vector of n numbers or more."""
        found = self._flat.get(name)
        if found is None or found.size < n:
            # What grows with the batches' steps is not to grow at every batch.
            n = max(n, 0 if found is None else found.size + found.size // 4, 1)
            found = self._flat[name] = device_array(n, dtype or self._dtype)
            self._views = {key: view for key, view in self._views.items() if key[0] != name}
        return found

    def matrix(self, name: Any, n_rows: int, n_columns: int, dtype: Any = None) -> Any:
        """Return a matrix of exactly these rows and columns."""
        key = name, n_rows, n_columns
        view = self._views.get(key)
        if view is None:
            size = n_rows * n_columns
            flat = self.flat(name, size, dtype)
            view = self._views[key] = flat[:size].reshape(n_rows, n_columns)
        return view

    def rows(self, name: Any, n_rows: int, n_columns: int, dtype: Any = None) -> Any:
        """Return a matrix of these columns and at least so many rows."""
        key = name, n_columns
        view = self._views.get(key)
        if view is None or view.shape[0] < n_rows:
            flat = self.flat(name, n_rows * n_columns, dtype)
            n_rows = flat.size // n_columns
            view = self._views[key] = flat[: n_rows * n_columns].reshape(n_rows, n_columns)
        return view

    def zeros(self, name: Any, n_rows: int, n_columns: int) -> Any:
        """Return a matrix of zeros, to which nobody writes."""
        key = name, n_rows, n_columns
        if key not in self._views:
            self.matrix(name, n_rows, n_columns).copy_to_device(
                np.zeros((n_rows, n_columns), self._dtype)
            )
        return self._views[key]
